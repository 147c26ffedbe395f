-- One step of the k-core: keep users and items with at least $k interactions, both behaviors counted together, and,
-- if $both_behaviors, users who still have both. Repeated by tasks/prepare/interactions.py until no row goes. All rows
-- of a user are in one range of users, and rare_items are those of all ranges.
create or replace table interactions as
with kept_users as (
    select "user"
    from interactions
    group by "user"
    having count(*) >= $k and (not $both_behaviors or min(behavior) <> max(behavior))
)
select i.*
from interactions as i
semi join kept_users as u on u."user" = i."user"
anti join rare_items as r on r.item = i.item
