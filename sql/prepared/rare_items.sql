-- Items with fewer than $k interactions, from counts of one or several ranges of users.
create or replace table rare_items as
select item
from item_counts
group by item
having sum(interactions) < $k
