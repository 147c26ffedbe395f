-- One block of JSON lines (batch: line, line_no) -> the values at $paths as text. It fails where a line is no JSON.
select line_no, json_extract_string(line, $paths) as fields
from batch
