-- Rows of a finished users table ($path) without repeated users: the first row of each stays.
select * exclude (file_row_number)
from read_parquet($path, file_row_number = true)
qualify row_number() over (partition by "user" order by file_row_number) = 1
order by file_row_number
