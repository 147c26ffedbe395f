-- One row per item of a search. Session ids recur, so a search is (user, session, time, keyword, source); rows that
-- repeat an item of it may disagree on the clicks: any click counts.
create table src_rows as
select "user", session, ts, query, source, item, max(click_cnt) > 0 as engaged, min(file_row_number) as source_row
from raw_src
group by "user", session, ts, query, source, item
