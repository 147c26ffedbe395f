-- Ties: events of one user and behavior at one time, whose order is unknown. Per day (UTC) their share of the day's
-- events, over the days.
with moments as (
    select user_idx, behavior, ts, count(*) as events
    from events
    group by all
),
days as (
    select ts // 86400000 as day, sum(events) as events, coalesce(sum(events) filter (events > 1), 0) as tied
    from moments
    group by day
)
select
    count(*) as days,
    sum(events)::bigint as events,
    sum(tied)::bigint as tied_events,
    min(tied / events) as tied_share_min,
    quantile_cont(tied / events, 0.5) as tied_share_median,
    max(tied / events) as tied_share_max
from days
