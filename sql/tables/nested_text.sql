-- A column of lists or structs (batch: value) as JSON text.
select to_json(value)::varchar as value
from batch
