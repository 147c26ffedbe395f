create table users as
with named as (
    select distinct "user" as raw_id
    from interactions
)
select (row_number() over (order by raw_id) - 1)::integer as user_idx, raw_id
from named
