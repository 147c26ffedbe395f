-- The distinct queries of each item, numbered from 0 in alphabetical order.
create table item_queries as
with distinct_queries as (
    select distinct item, query
    from item_paths
    join path_queries using (path)
)
select
    item,
    query,
    row_number() over (partition by item order by query) - 1 as number,
    count(*) over (partition by item) as queries
from distinct_queries
