-- A sample that occurs twice, in two splits or in one: by its id, or with two ids by its content.
select min(sample_id) as sample_id, count(*) as times, list(distinct split order by split) as splits
from samples
group by sample_id
having times > 1
union all
select min(sample_id), count(*) as times, list(distinct split order by split)
from samples
group by task, user_idx, item_idx, query_idx, ts
having times > 1
