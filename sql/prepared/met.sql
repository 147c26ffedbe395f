-- What each user engaged with, in any split and by any behavior: never a negative of that user.
create table met as
select distinct user_idx, item_idx
from events
