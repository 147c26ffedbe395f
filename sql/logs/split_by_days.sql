-- By calendar day in $zone: of the days that have events the last $days are test, the $days before them valid.
create table event_split as
with dated as (
    select position, timezone($zone, timezone('UTC', epoch_ms(ts)))::date as day
    from events
),
ranked as (
    select position, dense_rank() over (order by day desc) as from_the_end
    from dated
)
select
    position,
    case
        when from_the_end <= $days then 'test'
        when from_the_end <= 2 * $days then 'valid'
        else 'train'
    end as split
from ranked
