-- Texts are cut: whether they are null is what matters here. Every $every-th row, as for the other tables.
select
    item_idx,
    raw_id,
    left(title, 40) as title,
    left(brand, 40) as brand,
    left(description, 40) as description,
    left(category_text, 40) as category_text
from items
where file_row_number % $every = 0
