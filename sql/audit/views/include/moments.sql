-- Not an audit: the events, each with its moment. A history holds the user's events of a moment before the sample's.
-- With prepare.same_time: include the source rows tell the moments of one time apart. Twins share one.
create view moments as
select *, struct_pack(ts := ts, source_row := source_row) as moment
from events
