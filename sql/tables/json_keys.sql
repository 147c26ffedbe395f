-- The keys of a block of JSON lines (batch: line, line_no), in the order in which they come up.
select key
from (
    select unnest(json_keys(line)) as key, line_no
    from batch
    where json_valid(line) and json_type(line) = 'OBJECT'
)
group by key
order by min(line_no), key
