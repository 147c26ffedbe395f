-- How popular an item is in training: its recommendation events, and one more so that every item can be drawn. Tickets
-- first_ticket .. first_ticket + weight - 1 are the item's.
create or replace table item_weights as
with counted as (
    select item_idx, count(*) as times
    from samples
    where split = 'train' and task = 'recommendation'
    group by item_idx
),
weighted as (
    select i.item_idx, 1 + coalesce(c.times, 0) as weight
    from items as i
    left join counted as c using (item_idx)
)
select item_idx, weight, (sum(weight) over (order by item_idx) - weight)::bigint as first_ticket
from weighted
order by item_idx
