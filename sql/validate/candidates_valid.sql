select sample_id, protocol, len(item_idx) as items
from candidates_valid
where file_row_number % $every = 0
