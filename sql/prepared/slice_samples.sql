select sample_id, user_idx
from slice
order by number
