-- Users of a sample of the interactions, often those with many.
select "user"
from interactions using sample reservoir(100000 rows) repeatable (0)
