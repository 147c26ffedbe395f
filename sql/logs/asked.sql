-- The text of each row of the queries table, by query_id; null where no row of the id has one.
create table asked as
select query_id, arg_min(query, file_row_number) filter (query is not null) as query
from raw_queries
group by query_id
