select count(distinct item) as items
from item_counts
