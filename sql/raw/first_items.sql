-- Rows of a finished items table (written, with file_row_number) without repeated items: the first row of each stays.
select * exclude (file_row_number)
from written
qualify row_number() over (partition by item order by file_row_number) = 1
order by file_row_number
