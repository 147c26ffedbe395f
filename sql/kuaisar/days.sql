-- Events per calendar day in Asia/Shanghai, as event_split takes them, and the time at which each day starts.
with days as (
    select (ts + 8 * 3600000) // 86400000 as number
    from events
)
select
    (date '1970-01-01' + number::integer)::varchar as day,
    day || 'T00:00+08:00' as starts,
    count(*) as events
from days
group by number
order by number
