-- Every item of an interaction, numbered by raw id; an item without metadata has empty text and can still be learned
-- from behavior.
create table items as
with named as (
    select distinct item as raw_id
    from interactions
)
select
    (row_number() over (order by n.raw_id) - 1)::integer as item_idx,
    n.raw_id,
    coalesce(t.title, '') as title,
    coalesce(t.brand, '') as brand,
    coalesce(t.description, '') as description,
    coalesce(array_to_string(list_transform(t.category_paths, lambda p: array_to_string(p, ' ')), ' '), '')
        as category_text,
    coalesce(t.category_paths, []) as category_paths
from named as n
left join item_text as t on t.item = n.raw_id
