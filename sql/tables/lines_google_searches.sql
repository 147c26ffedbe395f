-- Of a block of JSON lines (batch: line, line_no) the searches whose results can be told by a token, and what is no JSON.
select line, line_no
from batch
where not json_valid(line)
    or (
        json_extract_string(line, '$.eventType') = 'search'
        and json_extract_string(line, '$.attributionToken') <> ''
        and json_extract_string(line, '$.searchQuery') <> ''
    )
