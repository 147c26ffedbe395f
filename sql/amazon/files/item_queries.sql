-- The queries of the dataset that each item's category paths make: catalogue knowledge, independent of purchases.
select
    i.item_idx,
    q.query_idx
from item_queries as o
join items as i on i.raw_id = o.item
join queries as q on q.text = o.query
order by i.item_idx, q.query_idx
