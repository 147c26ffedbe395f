select sample_id, task, user_idx, item_idx, history_end
from samples_valid
where file_row_number % $every = 0
