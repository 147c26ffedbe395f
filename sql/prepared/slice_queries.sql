-- The distinct queries of the slice, each asked once however many samples have it.
select distinct query_idx, q.text
from slice
join queries as q using (query_idx)
order by query_idx
