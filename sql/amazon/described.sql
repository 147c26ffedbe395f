-- How many of the items in the finished reviews table ($reviews) the finished items table ($items) does not describe.
with reviewed as (
    select distinct item
    from read_parquet($reviews)
),
items as (
    select item
    from read_parquet($items)
)
select
    count(*) as reviewed,
    count(*) filter (i.item is null) as missing,
    min(r.item) as first_reviewed,
    (select min(item) from items) as first_described
from reviewed as r
left join items as i on i.item = r.item
