-- A list of negatives that holds the sample's own target.
select c.split, c.protocol, c.sample_id, s.item_idx as target
from candidates as c
join samples as s using (split, sample_id)
where list_contains(c.item_idx, s.item_idx)
