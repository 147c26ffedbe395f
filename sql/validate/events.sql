select user_idx, item_idx, behavior, ts
from events
where file_row_number % $every = 0
