-- The histogram in at most ten bins per feature of about equal size: values whose middle row falls into the same tenth.
-- upper is the largest value of a bin.
with placed as (
    select
        feature,
        value,
        "rows",
        (sum("rows") over (partition by feature order by value) - "rows" / 2)
            / sum("rows") over (partition by feature) as middle
    from histogram
)
select feature, max(value) as upper, sum("rows")::bigint as "rows"
from placed
group by feature, floor(10 * middle)
order by feature, upper
