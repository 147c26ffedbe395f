-- A search without a query, or a recommendation with one, in events or samples.
select 'events' as "table", file_row_number as number, behavior as kind, query_idx
from events
where (behavior = 'src') <> (query_idx is not null)
union all
select 'samples_' || split as "table", number, task as kind, query_idx
from samples
where (task = 'search') <> (query_idx is not null)
