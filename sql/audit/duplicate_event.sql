-- An engagement that occurs twice.
select user_idx, item_idx, behavior, query_idx, ts, count(*) as times
from events
group by all
having times > 1
