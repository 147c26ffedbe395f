create table item_text as
select item, title, brand, description, categories as category_paths
from item_rows
