-- How popular an item is in training: its recommendation events, and one more so that every item can be drawn.
with counted as (
    select item_idx, count(*) as times
    from samples
    where split = 'train' and task = 'recommendation'
    group by item_idx
)
select i.item_idx, 1 + coalesce(c.times, 0) as weight
from items as i
left join counted as c using (item_idx)
order by i.item_idx
