select count(*) as samples
from (
    select s.number
    from slice as s
    left join chosen as c using (number)
    group by s.number
    having count(c.item_idx) < $negatives
)
