-- The text of each search by query_id: that of the queries table, else the first that an event with the id has, such as
-- the event of the search itself. It is null where a row of the queries table has the id and nothing has a text.
create table asked as
with lacking as (
    select distinct query_id
    from raw_events
    where engagement <> 'ignored' and query is null and query_id is not null
),
texts as (
    select query_id, query, 0 as source, file_row_number
    from raw_queries
    union all
    select query_id, query, 1 as source, file_row_number
    from raw_events
    semi join lacking using (query_id)
    where query is not null
)
select query_id, arg_min(query, (source, file_row_number)) filter (query is not null) as query
from texts
group by query_id
