-- The levels of the one category path, in English, and the caption's anonymised words as the title.
create table item_text as
select
    item,
    title,
    null::varchar as brand,
    null::varchar as description,
    case when len(category_names) > 0 then [category_names] end as category_paths
from item_rows
