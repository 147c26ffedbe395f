-- How many rows of a finished users table ($path) repeat an id.
select count(*) - count(distinct "user") as repeated
from read_parquet($path)
