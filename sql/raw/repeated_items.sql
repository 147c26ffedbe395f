-- How many rows of a finished items table ($path) repeat an id.
select count(*) - count(distinct "item") as repeated
from read_parquet($path)
