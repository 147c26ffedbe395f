-- The list that led to each engagement, by its row: a row of a search or of a delivery, as in kuaisar/shown.
create table engaged_lists as
select source_row, 'src' as behavior, concat_ws(chr(31), 'src', "user", session, ts, query, source) as list
from src_rows
where engaged
union all
select source_row, 'rec', concat_ws(chr(31), 'rec', "user", ts)
from rec_rows
where engaged
