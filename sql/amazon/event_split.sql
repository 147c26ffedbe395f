-- Leave one purchase out: a user's last purchase is test, the one before valid, the earlier ones train. The search
-- event of a purchase has its source_row and goes where the purchase goes. Purchases of one day are ordered as in
-- events (by source_row). A user with fewer than three purchases trains only.
create table event_split as
with purchases as (
    select
        user_idx,
        source_row,
        row_number() over (partition by user_idx order by ts desc, source_row desc) as from_the_end,
        count(*) over (partition by user_idx) as purchases
    from events
    where behavior = 'rec'
)
select
    e.position,
    case
        when p.purchases >= 3 and p.from_the_end = 1 then 'test'
        when p.purchases >= 3 and p.from_the_end = 2 then 'valid'
        else 'train'
    end as split
from events as e
join purchases as p using (user_idx, source_row)
