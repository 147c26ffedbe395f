-- Engaged events with the text of their search: the event's own, else that of the search with its query_id. list is what
-- showed the item: its query_id, or its session and text. Several engagements with one item have one instance, where
-- they belong to one list of a search, or to a list of the queries table that was shown without a search.
create table engagements as
with engaged as (
    select
        e."user",
        e.item,
        e.ts,
        case when $search_by <> 'id' or e.query_id is not null then coalesce(e.query, a.query) end as query,
        e.query_id,
        e.session,
        e.engagement,
        a.query_id is not null and $without_text = 'recommendation' as unasked,
        e.file_row_number as source_row
    from raw_events as e
    left join asked as a using (query_id)
    where e.engagement not in ('ignored', 'shown')
),
listed as (
    select
        *,
        case
            when query_id is not null then 'query ' || query_id
            when session is not null then concat_ws(chr(31), 'session', session, "user", coalesce(query, ''))
        end as list
    from engaged
)
select
    * exclude (query_id, session, engagement, unasked),
    case when query is not null or unasked then list end as instance,
    -- A search whose text nobody knows is no recommendation.
    query is null and ($search_by <> 'known_id' and query_id is not null and not unasked or engagement = 'src')
        as without_text
from listed
