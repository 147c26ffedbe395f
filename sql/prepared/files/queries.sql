select query_idx, text
from queries
order by query_idx
