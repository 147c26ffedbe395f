-- The paths into the objects that the keys of a block of JSON lines hold (batch: line, line_no), one level deep. A key with
-- other values too has none, and neither has a name with a dot, which no path could lead to.
with given as (
    select key, json_extract(line, '/' || replace(replace(key, '~', '~0'), '/', '~1')) as value, line_no
    from (
        select line, line_no, unnest(json_keys(line)) as key
        from batch
        where json_valid(line) and json_type(line) = 'OBJECT'
    )
),
objects as (
    select key
    from given
    where key <> '' and not contains(key, '.')
    group by key
    having bool_and(coalesce(json_type(value), 'NULL') in ('OBJECT', 'NULL'))
),
inside as (
    select key, unnest(json_keys(value)) as inner_key, line_no
    from given
    semi join objects using (key)
    where json_type(value) = 'OBJECT'
)
select key, key || '.' || inner_key as path
from inside
where inner_key <> '' and not contains(inner_key, '.')
group by key, inner_key
order by min(line_no), key, inner_key
