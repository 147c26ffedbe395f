-- The category paths of the remaining items, as in amazon/item_paths: a single level is no query.
create table item_paths as
with listed as (
    select item, unnest(category_paths) as levels
    from item_rows
    semi join interactions using (item)
)
select distinct item, array_to_string(levels, ' ') as path
from listed
where len(levels) > 1
