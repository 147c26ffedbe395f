select sample_id, task, user_idx, item_idx, query_idx, ts, history_end
from samples
where split = $split
order by task, user_idx, ts, sample_id
