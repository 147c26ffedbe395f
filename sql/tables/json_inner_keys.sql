-- The paths into the objects that the keys of a block of JSON lines hold (batch: line, line_no), one level deep. A key with
-- other values too has none, and neither has one with a quote, which no path may hold.
with given as (
    select key, json_extract(line, '$."' || key || '"') as value, line_no
    from (
        select line, line_no, unnest(json_keys(line)) as key
        from batch
        where json_valid(line) and json_type(line) = 'OBJECT'
    )
    where not contains(key, '"')
),
objects as (
    select key
    from given
    group by key
    having bool_and(coalesce(json_type(value), 'NULL') in ('OBJECT', 'NULL'))
)
select key, key || '.' || inner_key as path
from (
    select key, unnest(json_keys(value)) as inner_key, line_no
    from given semi join objects using (key)
    where json_type(value) = 'OBJECT'
)
group by key, inner_key
order by min(line_no), key, inner_key
