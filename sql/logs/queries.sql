-- One block of searches (batch: text by role, line_no) -> the text of each search, or the reason for a reject. A search
-- without a text is taken: its events are no searches that can be learned from, and are counted as such.
select
    query_id,
    query,
    line_no as line,
    case
        when query_id is null then 'no ' || $query_id
        when is_nested(query_id) then $query_id || ' is a list or an object: one id is expected'
    end as reason,
    concat_ws(',', query_id, query) as excerpt
from batch
order by line
