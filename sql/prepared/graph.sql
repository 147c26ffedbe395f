-- The graph that LightGCN may read: pairs of training recommendation events, without targets of evaluation samples of
-- either task.
create table graph as
with trained as (
    select distinct user_idx, item_idx
    from samples
    where split = 'train' and task = 'recommendation'
),
evaluated as (
    select distinct user_idx, item_idx
    from samples
    where split <> 'train'
)
select user_idx, item_idx
from trained
anti join evaluated using (user_idx, item_idx)
