-- The lines of a file of JSON lines, in their order -> $columns: keys of the objects with their types. It fails where a line is
-- no object, where an object has one of the keys twice, and where a value is no object and the type is a struct.
select *
from read_ndjson(
    $path,
    columns = $columns,
    records = true,
    maximum_object_size = $longest,
    compression = 'none',
    hive_partitioning = false
)
