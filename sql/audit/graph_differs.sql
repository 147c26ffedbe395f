-- A pair that the LightGCN graph should not have, has twice, or lacks. The graph is the distinct pairs of training
-- recommendation samples that are no evaluation target.
with trained as (
    select distinct user_idx, item_idx
    from samples
    where split = 'train' and task = 'recommendation'
),
evaluated as (
    select distinct user_idx, item_idx
    from samples
    where split <> 'train'
),
expected as (
    select user_idx, item_idx
    from trained
    anti join evaluated using (user_idx, item_idx)
)
select user_idx, item_idx, 'not in training' as problem
from graph
anti join trained using (user_idx, item_idx)
union all
select user_idx, item_idx, 'repeated' as problem
from graph
group by user_idx, item_idx
having count(*) > 1
union all
select user_idx, item_idx, 'missing' as problem
from expected
anti join graph using (user_idx, item_idx)
