drop table src_rows
