-- Of a block of JSON lines (batch: line, line_no) of both indices of UBI the events, and what is no JSON.
select line, line_no
from (select document(line) as line, line_no from batch)
where contains(line, '"action_name"') or contains(line, '"event_attributes"') or not json_valid(line)
