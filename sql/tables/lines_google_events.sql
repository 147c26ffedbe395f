-- Of a block of JSON lines (batch: line, line_no) one line per product of an event: productDetails is then that product.
with events as (
    select line, line_no, case when json_valid(line) then json_extract(line, '$.productDetails[*]') else [] end as details
    from batch
)
select
    case when len(details) = 0 then line else json_merge_patch(line, json_object('productDetails', detail))::varchar end
        as line,
    line_no
from events
cross join lateral (select unnest(case when len(details) = 0 then [null] else details end) as detail)
order by line_no
