select user_idx, raw_id
from users
order by user_idx
