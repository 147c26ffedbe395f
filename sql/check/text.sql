-- Number of items after the filter, and of those without a text.
select
    count(*) as items,
    count(*) filter (title = '') as without_title,
    count(*) filter (brand = '') as without_brand,
    count(*) filter (category_text = '') as without_category,
    count(*) filter (description = '') as without_description,
    count(*) filter (title || brand || category_text || description = '') as without_any
from items
