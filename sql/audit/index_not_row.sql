-- A table whose index column is not the row number: readers take row i for index i.
select 'items' as "table", file_row_number as number, item_idx as idx from items where item_idx <> file_row_number
union all
select 'users', file_row_number, user_idx from users where user_idx <> file_row_number
union all
select 'queries', file_row_number, query_idx from queries where query_idx <> file_row_number
