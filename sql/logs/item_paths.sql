-- The category paths of the items that are kept, as amazon/item_paths has them: one level alone is no query.
create table item_paths as
with listed as (
    select item, unnest(category_paths) as levels
    from item_rows
    semi join interactions using (item)
)
select distinct item, array_to_string(levels, ' ') as path
from listed
where len(levels) > 1
