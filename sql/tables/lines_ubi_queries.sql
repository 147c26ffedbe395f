-- Of a block of JSON lines (batch: line, line_no) of both indices of UBI the queries, and what is no JSON. Lines such as
-- {"index": {"_index": "ubi_queries"}} of a bulk dump are no documents.
select line, line_no
from (select document(line) as line, line_no from batch)
where not contains(line, '"action_name"')
    and not contains(line, '"event_attributes"')
    and not regexp_full_match(line, '\s*\{\s*"(index|create|update|delete)"\s*:\s*\{[^{}]*\}\s*\}\s*')
