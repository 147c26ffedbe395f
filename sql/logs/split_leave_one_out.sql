-- Leave one out: a user's last event is test, the one before valid, earlier ones train. What belongs together goes
-- together: events of one instant; all events from a search's first to its last, where it has a query_id or a session;
-- else neighbours with the same query less than half an hour apart. A user with fewer than three such groups trains only.
create table event_split as
with searches as (
    select
        e.position,
        e.user_idx,
        e.ts,
        e.query_idx,
        case when e.query_idx is not null then coalesce('query ' || r.query_id, 'session ' || r.session) end as search
    from events as e
    left join raw_events as r on r.file_row_number = e.source_row
),
spans as (
    select
        *,
        case
            when search is null then ts
            else max(ts) over (partition by user_idx, search, query_idx)
        end as search_end
    from searches
),
before as (
    select
        *,
        max(search_end) over (
            partition by user_idx order by position rows between unbounded preceding and 1 preceding
        ) as open_until,
        case when ts - lag(ts) over by_time < 1800000 then lag(query_idx) over by_time end as query_before
    from spans
    window by_time as (partition by user_idx order by position)
),
grouped as (
    select
        position,
        user_idx,
        sum(
            (ts > open_until and (query_idx is null or query_before is null or query_idx <> query_before))::integer
        ) over (partition by user_idx order by position) as number
    from before
),
counted as (
    select
        position,
        max(coalesce(number, 0)) over (partition by user_idx) as last,
        last - coalesce(number, 0) as from_the_end
    from grouped
)
select
    position,
    case
        when last >= 2 and from_the_end = 0 then 'test'
        when last >= 2 and from_the_end = 1 then 'valid'
        else 'train'
    end as split
from counted
