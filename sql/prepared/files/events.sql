select user_idx, item_idx, behavior, query_idx, ts, source_row
from events
order by position
