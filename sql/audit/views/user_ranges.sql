-- Not an audit: where each user's events lie.
create table user_ranges as
select user_idx, min(file_row_number) as first_event, max(file_row_number) + 1 as stop_event, count(*) as events
from events
group by user_idx
