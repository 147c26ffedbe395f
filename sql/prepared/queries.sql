create table queries as
with named as (
    select distinct query as text
    from interactions
    where query is not null
)
select (row_number() over (order by text) - 1)::integer as query_idx, text
from named
