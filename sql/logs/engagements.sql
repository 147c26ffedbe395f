-- Engaged events with the text of their search: the event's own, else that of the search with its query_id. An event that
-- is one of several on one item in one search (its query_id, or its session and text) has their instance.
create table engagements as
with asked as (
    select query_id, arg_min(query, file_row_number) as query
    from raw_queries
    where query is not null
    group by query_id
),
engaged as (
    select
        e."user",
        e.item,
        e.ts,
        case when $search_by <> 'id' or e.query_id is not null then coalesce(e.query, a.query) end as query,
        e.query_id,
        e.session,
        e.engagement,
        e.file_row_number as source_row
    from raw_events as e
    left join asked as a using (query_id)
    where e.engagement <> 'ignored'
)
select
    * exclude (query_id, session, engagement),
    case when query is not null then coalesce('query ' || query_id, 'session ' || session) end as instance,
    -- A search whose text nobody knows is no recommendation.
    query is null and ($search_by <> 'known_id' and query_id is not null or engagement = 'src') as without_text
from engaged
