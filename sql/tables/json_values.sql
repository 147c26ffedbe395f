-- Values as JSON (batch: value) -> those at $paths in each, as text.
select json_extract_string(value, $paths) as fields
from batch
