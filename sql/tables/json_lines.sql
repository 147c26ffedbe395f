-- One block of JSON lines (batch: line, line_no) -> the values at $paths as text, or the reason for a reject.
select
    line_no,
    case when json_valid(line) and json_type(line) = 'OBJECT' then json_extract_string(line, $paths) end as fields,
    line_no as line,
    case
        when not json_valid(line) then 'not a JSON line'
        when json_type(line) <> 'OBJECT' then 'not a JSON object'
    end as reason,
    line as excerpt
from batch
