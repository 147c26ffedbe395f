-- Share of training recommendation events that are later than a test event, averaged over the test events. Leave-one-out
-- lets other users' later purchases into training. A split by time gives 0.
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
    select 1 - coalesce(c.up_to, 0) / (select max(total) from cumulated) as later
    from (select ts from samples where split = 'test' and task = 'recommendation') as t
    asof left join cumulated as c on t.ts >= c.ts
)
select
    avg(later) as later_share,
    quantile_cont(later, 0.5) as later_share_median,
    max(later) as later_share_max
from tested
