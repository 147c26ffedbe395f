-- The items that users of evaluation samples met, as sorted numbers user_idx * $items + item_idx.
with evaluated as (
    select distinct user_idx
    from samples
    where split <> 'train'
)
select m.user_idx::bigint * $items + m.item_idx as key
from met as m
semi join evaluated using (user_idx)
order by key
