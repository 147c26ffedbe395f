-- Of the training recommendation events, the share that is later than a test event, averaged over the test events.
-- Leave-one-out lets other users' later purchases into training; a split by day gives 0.
with training as (
    select ts, count(*) as events
    from samples
    where split = 'train' and task = 'recommendation'
    group by ts
),
cumulated as (
    select ts, sum(events) over (order by ts) as up_to, sum(events) over () as total
    from training
),
tested as (
    select ts
    from samples
    where split = 'test' and task = 'recommendation'
)
select avg(1 - coalesce(c.up_to, 0) / (select max(total) from cumulated)) as later_share
from tested as t
asof left join cumulated as c on t.ts >= c.ts
