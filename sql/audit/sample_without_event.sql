-- A sample without an event, or an event without a sample: both must hold the same engagements.
with told as (
    select
        user_idx,
        item_idx,
        query_idx,
        ts,
        case task when 'recommendation' then 'rec' else 'src' end as behavior
    from samples
),
happened as (
    select user_idx, item_idx, query_idx, ts, behavior
    from events
)
select 'sample without event' as problem, *
from (from told except all from happened)
union all
select 'event without sample' as problem, *
from (from happened except all from told)
