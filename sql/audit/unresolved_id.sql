-- An index, in any table, without a row in the table that it refers to.
with used as (
    select 'events' as "table", 'user' as kind, user_idx as idx from events
    union all
    select 'events', 'item', item_idx from events
    union all
    select 'events', 'query', query_idx from events where query_idx is not null
    union all
    select 'samples_' || split, 'user', user_idx from samples
    union all
    select 'samples_' || split, 'item', item_idx from samples
    union all
    select 'samples_' || split, 'query', query_idx from samples where query_idx is not null
    union all
    select 'candidates_' || split, 'item', unnest(item_idx) from candidates
    union all
    select 'graph', 'user', user_idx from graph
    union all
    select 'graph', 'item', item_idx from graph
    union all
    select 'item_queries', 'item', item_idx from item_queries
    union all
    select 'item_queries', 'query', query_idx from item_queries
    union all
    select 'impressions', 'user', user_idx from impressions
    union all
    select 'impressions', 'item', item_idx from impressions
    union all
    select 'impressions', 'query', query_idx from impressions where query_idx is not null
),
known as (
    select 'user' as kind, user_idx as idx from users
    union all
    select 'item' as kind, item_idx as idx from items
    union all
    select 'query' as kind, query_idx as idx from queries
)
select "table", kind, idx, count(*) as times
from used
anti join known using (kind, idx)
group by all
