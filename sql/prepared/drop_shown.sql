-- Drop what only impressions are made of. It may be larger than the events.
drop table shown;
drop table if exists engaged_lists;
