-- One step of the k-core: keep users and items with at least $k interactions, both behaviors counted together, and,
-- if $both_behaviors, users who still have both. Repeated by tasks/prepare/prepare.py until no row goes.
create or replace table interactions as
with kept_users as (
    select "user"
    from interactions
    group by "user"
    having count(*) >= $k and (not $both_behaviors or min(behavior) <> max(behavior))
),
kept_items as (
    select item
    from interactions
    group by item
    having count(*) >= $k
)
select i.*
from interactions as i
semi join kept_users as u on u."user" = i."user"
semi join kept_items as t on t.item = i.item
