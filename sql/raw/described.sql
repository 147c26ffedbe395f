-- Number of items that events name (named_items) and that a finished items table (written) does not describe.
with used as (
    select distinct item
    from named_items
)
select
    count(*) as used,
    count(*) filter (i.item is null) as missing,
    min(u.item) as first_used,
    (select min(item) from written) as first_described
from used as u
left join (select distinct item from written) as i on i.item = u.item
