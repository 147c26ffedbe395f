-- Engaged rows of both behaviors. Items of every type are kept. A search without a word in its query is no search
-- sample and is left out. Two sessions that record one engagement (same user, item, time, query) give one event.
create table interactions as
with recommended as (
    select "user", item, ts, 'rec' as behavior, null::varchar as query, source_row
    from rec_rows
    where engaged
),
searched as (
    select "user", item, ts, 'src' as behavior, query, min(source_row) as source_row
    from src_rows
    where engaged and trim(coalesce(query, '')) <> ''
    group by "user", item, ts, query
)
from recommended
union all
from searched
