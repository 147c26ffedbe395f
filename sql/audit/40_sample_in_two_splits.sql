-- A sample id that stands twice, in two splits or in one.
select sample_id, count(*) as times, list(distinct split order by split) as splits
from samples
group by sample_id
having times > 1
