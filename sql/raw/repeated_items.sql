-- How many rows of a finished items table (written) repeat an id.
select count(*) - count(distinct item) as repeated
from written
