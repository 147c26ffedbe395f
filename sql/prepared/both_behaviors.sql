-- Keep the users who have both behaviors, before the k-core.
create or replace table interactions as
with kept_users as (
    select "user"
    from interactions
    group by "user"
    having min(behavior) <> max(behavior)
)
select i.*
from interactions as i
semi join kept_users as u on u."user" = i."user"
