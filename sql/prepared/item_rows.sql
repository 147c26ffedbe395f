-- One row per remaining item; the first row where the metadata lists an item twice. The rows are chosen first, without
-- the text, because the filter removes most items of a large catalogue.
create table item_rows as
with first_rows as (
    select min(file_row_number) as file_row_number
    from raw_items
    semi join interactions using (item)
    group by item
)
select * exclude (file_row_number)
from raw_items
semi join first_rows using (file_row_number)
