-- Number of rows of a finished users table (written) that repeat an id.
select count(*) - count(distinct "user") as repeated
from written
