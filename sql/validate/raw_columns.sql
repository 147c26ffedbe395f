-- The columns of a raw table that its expectations look at. Every $every-th row: all of them up to the frame limit of
-- tasks/validate/validate.py.
select * exclude (file_row_number)
from raw_columns
where file_row_number % $every = 0
