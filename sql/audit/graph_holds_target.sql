-- A pair of the LightGCN graph that is the target of an evaluation sample of either task.
select g.user_idx, g.item_idx, list(distinct s.split order by s.split) as splits
from graph as g
join samples as s using (user_idx, item_idx)
where s.split <> 'train'
group by all
