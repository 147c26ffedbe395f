-- Number of items of the events that the items table describes, with an id of each table.
with engaged as (
    select distinct item
    from interactions
),
listed as (
    select distinct item
    from raw_items
)
select
    (select count(*) from engaged) as items,
    (select count(*) from listed) as listed,
    (select count(*) from engaged semi join listed using (item)) as described,
    (select min(item) from engaged) as of_events,
    (select min(item) from listed) as of_items
