-- Events per day in $zone, for days that have any.
select timezone($zone, timezone('UTC', epoch_ms(ts)))::date as day, count(*) as events
from events
group by day
order by day
