-- Not an audit: the candidate lists of both evaluation splits, each with its row in its file.
create view candidates as
select 'valid' as split, file_row_number as number, * exclude (file_row_number) from candidates_valid
union all
select 'test' as split, file_row_number as number, * exclude (file_row_number) from candidates_test
