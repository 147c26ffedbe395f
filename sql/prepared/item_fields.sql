select title, brand, description, category_text
from items
order by item_idx
