select user_idx, item_idx
from graph
order by user_idx, item_idx
