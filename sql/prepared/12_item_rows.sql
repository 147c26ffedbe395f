-- One row per item that the filter kept: where the metadata lists an item twice, the first row stands. Most items of a
-- large catalogue go with the filter, and so does most of the text.
create table item_rows as
select * exclude (file_row_number)
from raw_items
semi join interactions using (item)
qualify row_number() over (partition by item order by file_row_number) = 1
