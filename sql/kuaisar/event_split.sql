-- By calendar day in Asia/Shanghai: the last day is test, the day before valid, the rest train. Shanghai has kept
-- UTC+8 without summer time since 1992, so the day is arithmetic and needs no time zone database.
create table event_split as
with days as (
    select position, (ts + 8 * 3600000) // 86400000 as day
    from events
),
latest as (
    select max(day) as day
    from days
)
select
    d.position,
    case d.day
        when l.day then 'test'
        when l.day - 1 then 'valid'
        else 'train'
    end as split
from days as d
cross join latest as l
