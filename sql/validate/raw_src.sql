-- Every $every-th row: all of them up to the frame limit of tasks/validate/validate.py.
select "user", item, session, ts, query, click_cnt, file, line
from raw_src
where file_row_number % $every = 0
