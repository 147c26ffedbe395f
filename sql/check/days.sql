-- Samples per day in $zone and split, for days that have any.
select
    timezone($zone, timezone('UTC', epoch_ms(ts)))::date::varchar as day,
    count(*) filter (split = 'train') as train,
    count(*) filter (split = 'valid') as valid,
    count(*) filter (split = 'test') as test
from samples
group by day
order by day
