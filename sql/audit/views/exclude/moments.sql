-- Not an audit: the events, each with its moment. A history holds the user's events of a moment before the sample's.
-- With prepare.same_time: exclude a moment is a time, and events of one time are not before each other.
create view moments as
select *, ts as moment
from events
