select count(distinct "user") as users, count(distinct item) as items, count(*) as interactions
from interactions
