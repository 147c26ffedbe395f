-- Drop the rows of both behaviors before the filter, because they are as large as the raw tables.
drop table rec_rows;
drop table src_rows
