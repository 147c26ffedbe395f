-- Not an audit: the pairs that training never draws as negatives. gensr_model/data/batches.py NegativeSampler leaves out
-- the targets of the user's training samples of either task; LightGCN leaves out the graph, which is a part of them.
create view never_negative as
select distinct user_idx, item_idx
from samples
where split = 'train'
