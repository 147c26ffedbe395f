-- A list of the wrong length.
select split, protocol, sample_id, coalesce(len(item_idx), 0) as items, (select negatives from settings) as expected
from candidates
where coalesce(len(item_idx), 0) <> (select negatives from settings)
