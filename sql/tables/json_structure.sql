-- The keys of the objects in a block of JSON lines (batch: line, line_no), as a JSON object: key -> type, or its own keys.
-- Null where no line is an object.
select json_group_structure(case when try(json_type(line)) = 'OBJECT' then line::json end) as structure
from batch
