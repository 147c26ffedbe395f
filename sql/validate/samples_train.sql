select sample_id, task, user_idx, item_idx, history_end
from samples_train
where file_row_number % $every = 0
