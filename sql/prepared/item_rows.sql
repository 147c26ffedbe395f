-- One row per item that the filter kept: where the metadata lists an item twice, the first row stands. Which rows these
-- are is found first, without the text: most items of a large catalogue go with the filter.
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
