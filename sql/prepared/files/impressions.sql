select list_idx, user_idx, behavior, query_idx, ts, item_idx, position, source_row
from impressions
order by list_idx, position, item_idx
