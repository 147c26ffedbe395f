-- The rows of both behaviors are as large as the raw tables: gone before the filter begins.
drop table rec_rows;
drop table src_rows
