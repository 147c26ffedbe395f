-- Population stability index of each feature that both datasets have: sum over the bins of reference of
-- (new - old) * ln(new / old), shares of rows. Values above the last bin count in it. Half a row is added to each bin, so
-- that an empty one does not make the index infinite.
with last_bins as (
    select feature, max(upper) as last_upper, count(*) as bins, sum("rows") as reference_rows
    from reference
    group by feature
),
totals as (
    select feature, sum("rows") as new_rows
    from histogram
    group by feature
),
binned as (
    select h.feature, r.upper, h."rows"
    from (
        select feature, least(value, last_upper) as value, "rows"
        from histogram
        join last_bins using (feature)
    ) as h
    asof join reference as r on h.feature = r.feature and h.value <= r.upper
),
counted as (
    select r.feature, r.upper, r."rows" as reference_count, coalesce(sum(b."rows"), 0) as new_count
    from reference as r
    left join binned as b using (feature, upper)
    group by all
),
shares as (
    select
        feature,
        (reference_count + 0.5) / (reference_rows + 0.5 * bins) as old_share,
        (new_count + 0.5) / (new_rows + 0.5 * bins) as new_share
    from counted
    join last_bins using (feature)
    join totals using (feature)
)
select feature, sum((new_share - old_share) * ln(new_share / old_share)) as psi
from shares
group by feature
order by feature
