-- A list that holds an item twice.
select split, protocol, sample_id, len(item_idx) as items, len(list_distinct(item_idx)) as distinct_items
from candidates
where items <> distinct_items
