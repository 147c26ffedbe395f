-- Number of interactions of each item.
create or replace table item_counts as
select item, count(*) as interactions
from interactions
group by item
