select item_idx, raw_id, title, brand, description, category_text, category_paths
from items
order by item_idx
