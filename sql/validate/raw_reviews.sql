-- Every $every-th row: all of them up to the frame limit of tasks/validate/validate.py.
select "user", item, ts, rating, file, line
from raw_reviews
where file_row_number % $every = 0
