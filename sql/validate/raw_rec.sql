-- Every $every-th row: all of them up to the frame limit of tasks/validate/validate.py.
select "user", item, ts, click, file, line
from raw_rec
where file_row_number % $every = 0
