-- Drop the table before the filter, because it is as large as the raw events.
drop table engagements
