select sample_id, 'shown' as protocol, item_idx
from shown_lists
where split = $split
order by task, user_idx, ts, sample_id
