-- One block of JSON lines (batch: line, line_no) -> the values at $paths as text, or the reason for a reject.
with typed as (
    select line, line_no, try(json_type(line)) as kind
    from batch
)
select
    line_no,
    case when kind = 'OBJECT' then json_extract_string(line, $paths) end as fields,
    line_no as line,
    case
        when kind is null then 'not a JSON line'
        when kind <> 'OBJECT' then 'not a JSON object'
    end as reason,
    case when kind is distinct from 'OBJECT' then line end as excerpt
from typed
