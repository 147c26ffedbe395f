-- The shown items of each list, a list as in logs/engagements. Events of type shown say what was seen; the queries table
-- says what was answered, which counts where no event has the list.
create table shown as
with events_shown as (
    select
        e."user",
        e.item,
        e.ts,
        e.position as place,
        e.file_row_number as number,
        case when $search_by <> 'id' or e.query_id is not null then coalesce(e.query, a.query) end as query,
        e.query_id,
        e.session,
        a.query_id is not null and $without_text = 'recommendation' as unasked
    from raw_events as e
    left join asked as a using (query_id)
    where e.engagement = 'shown' and e.item is not null
),
seen as (
    select
        case
            when query_id is not null then 'query ' || query_id
            when session is not null and "user" is not null
                then concat_ws(chr(31), 'session', session, "user", coalesce(query, ''))
        end as list,
        * exclude (query_id, session, unasked)
    from events_shown
    where query is not null or unasked or query_id is null or $search_by = 'known_id'
),
answered as (
    select
        'query ' || q.query_id as list,
        q."user",
        unnest(q.items) as item,
        q.ts,
        unnest(range(len(q.items))) as place,
        q.file_row_number as number,
        a.query
    from raw_queries as q
    join asked as a using (query_id)
    where len(q.items) > 0 and (a.query is not null or $without_text = 'recommendation')
)
select list, "user", item, ts, place, number, query
from seen
where list is not null
union all
select list, "user", item, ts, place, number, query
from answered
anti join seen using (list)
