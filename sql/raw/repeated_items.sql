-- Number of rows of a finished items table (written) that repeat an id.
select count(*) - count(distinct item) as repeated
from written
