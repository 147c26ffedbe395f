-- A row per column of the view profiled: how many rows and nulls, about how many distinct values (HyperLogLog), the
-- extremes and, of numbers, about where the quartiles are (t-digest). Long values are cut.
with summary as (
    select row_number() over () as position, *
    from (summarize profiled)
),
present as (
    unpivot (select count(columns(*)) as "\0" from profiled)
    on columns(*)
    into name column_name value present
)
select
    column_name as "column",
    column_type as "type",
    "count" as "rows",
    "count" - present as nulls,
    approx_unique as distinct_about,
    left("min", 40) as "min",
    left(q25, 40) as q25,
    left(q50, 40) as median,
    left(q75, 40) as q75,
    left("max", 40) as "max"
from summary
join present using (column_name)
order by position
