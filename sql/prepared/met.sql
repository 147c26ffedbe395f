-- The items that each user engaged with, in any split and by any behavior: never negatives of that user.
create table met as
select distinct user_idx, item_idx
from events
