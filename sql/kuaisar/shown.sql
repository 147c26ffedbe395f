-- What was shown: the items of a search, and those of one delivery, the recommendations to a user at one instant. The
-- raw data give no places, so rows stand in their order.
create table shown as
select
    concat_ws(chr(31), 'src', "user", session, ts, query, source) as list,
    "user",
    item,
    ts,
    null::bigint as place,
    source_row as number,
    query
from src_rows
where trim(coalesce(query, '')) <> ''
union all
select concat_ws(chr(31), 'rec', "user", ts), "user", item, ts, null, source_row, null
from rec_rows
