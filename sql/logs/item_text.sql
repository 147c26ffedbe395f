-- Texts of the items table. Where that table has no title, the title comes from the events.
create table item_text as
with told as (
    select item, arg_min(item_title, file_row_number) as title
    from raw_events
    semi join interactions using (item)
    where item_title is not null
    group by item
)
select
    item,
    coalesce(r.title, t.title) as title,
    r.brand,
    r.description,
    r.category_paths
from item_rows as r
full join told as t using (item)
