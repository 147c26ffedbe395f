-- Not an audit: the samples of all splits, each with its row in its file.
create view samples as
select 'train' as split, file_row_number as number, * exclude (file_row_number) from samples_train
union all
select 'valid' as split, file_row_number as number, * exclude (file_row_number) from samples_valid
union all
select 'test' as split, file_row_number as number, * exclude (file_row_number) from samples_test
