-- The slice's lists, in the order in which they were drawn.
select s.sample_id, $protocol as protocol, list(c.item_idx order by c.draw) as item_idx
from slice as s
join chosen as c using (number)
group by s.number, s.sample_id
order by s.number
