-- The category paths of the remaining items, with joined level names. A path of one level (the store's name) tells
-- nothing about the item and is no query.
create table item_paths as
with listed as (
    select item, unnest(categories) as levels
    from item_rows
    semi join interactions using (item)
)
select distinct item, array_to_string(levels, ' ') as path
from listed
where len(levels) > 1
