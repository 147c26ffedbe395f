-- A candidate that the sample's user engaged with, in any split and by any behavior.
with met as (
    select distinct user_idx, item_idx
    from events
),
offered as (
    select split, protocol, sample_id, unnest(item_idx) as item_idx
    from candidates
)
select o.split, o.protocol, o.sample_id, s.user_idx, o.item_idx
from offered as o
join samples as s using (split, sample_id)
join met as m on m.user_idx = s.user_idx and m.item_idx = o.item_idx
