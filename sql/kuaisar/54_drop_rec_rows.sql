drop table rec_rows
