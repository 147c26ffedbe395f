-- How many rows of a finished users table (written) repeat an id.
select count(*) - count(distinct "user") as repeated
from written
