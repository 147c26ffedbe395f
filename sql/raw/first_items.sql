-- Rows of a finished items table ($path) without repeated items: the first row of each stays.
select * exclude (file_row_number)
from read_parquet($path, file_row_number = true)
qualify row_number() over (partition by item order by file_row_number) = 1
order by file_row_number
