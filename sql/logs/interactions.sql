-- Several actions on one item in one search are one engagement, at the first time; without a search or a session they are
-- one only where the instant is the same. source_row is the first such row.
create table interactions as
with once as (
    select
        "user",
        item,
        query,
        min(ts) as ts,
        arg_min(source_row, (ts, source_row)) as source_row
    from engagements
    where not without_text
    group by "user", item, query, instance, case when instance is null then ts end
)
select
    "user",
    item,
    ts,
    case when query is null then 'rec' else 'src' end as behavior,
    query,
    min(source_row) as source_row
from once
group by "user", item, ts, query
