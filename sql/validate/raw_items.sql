-- Every $every-th row: all of them up to the frame limit of tasks/validate/validate.py.
select item
from raw_items
where file_row_number % $every = 0
