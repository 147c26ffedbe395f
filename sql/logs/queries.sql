-- One block of searches (batch: text by role, line_no) -> the text of each search and the items that it showed, or the
-- reason for a reject. A search without a text, a time or shown items is taken. A number is a time in the unit in which
-- it is credible.
with rows as (
    select
        *,
        try_cast(try_cast(time as decimal(30, 6)) as bigint) as number,
        case when starts_with(items, '[') and json_valid(items) then try_cast(items::json as varchar[]) end as listed
    from batch
)
select
    query_id,
    query,
    "user",
    case
        when number is null then epoch_ms(try_cast(time as timestamptz))
        when number between $earliest / 1000 and $latest / 1000 then number * 1000
        when number between $earliest and $latest then number
        when number between $earliest * 1000 and $latest * 1000 then number // 1000
        when number between $earliest * 1000000 and $latest * 1000000 then number // 1000000
    end as ts,
    list_filter(
        list_transform(listed, lambda item: regexp_replace(trim(item), '^(-?\d+)\.0$', '\1')),
        lambda item: item is not null and not list_contains($missing, item)
    ) as items,
    line_no as line,
    case
        when query_id is null then 'no ' || $query_id
        when is_nested(query_id) then $query_id || ' is a list or an object: one id is expected'
    end as reason,
    concat_ws(',', query_id, query) as excerpt
from rows
order by line
