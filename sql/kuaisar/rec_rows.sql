-- One row per delivery (user, item, time); rows that repeat it may disagree on the click: any click counts.
create table rec_rows as
select "user", item, ts, max(click) > 0 as engaged, min(file_row_number) as source_row
from raw_rec
group by "user", item, ts
