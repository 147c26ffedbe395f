-- One row per item: where the metadata lists an item twice, the first row stands.
create table item_rows as
select * exclude (file_row_number)
from raw_items
qualify row_number() over (partition by item order by file_row_number) = 1
