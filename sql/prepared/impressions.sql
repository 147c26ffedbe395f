-- The items that were shown, by list, without items and users that the filters removed. A format made shown (list, user,
-- item, ts, place, number, query) and engaged_lists (source_row, behavior, list). A list belongs to the user of its first
-- engagement, else to the one who saw it. An engaged item that the list lacks was shown too, at an unknown place.
create table impressions as
with clicked as (
    select l.list, e.user_idx, e.item_idx, e.behavior, e.source_row
    from events as e
    join engaged_lists as l using (source_row, behavior)
),
owners as (
    select list, arg_min(user_idx, source_row) as user_idx
    from clicked
    group by list
),
described as (
    select list, min(ts) as ts, arg_min("user", number) as "user", arg_min(query, number) as query
    from shown
    group by list
),
lists as (
    select
        d.list,
        d.ts,
        coalesce(o.user_idx, u.user_idx) as user_idx,
        case when d.query is null then 'rec' else 'src' end as behavior,
        q.query_idx
    from described as d
    left join owners as o using (list)
    left join users as u on u.raw_id = d."user"
    left join queries as q on q.text = d.query
    where coalesce(o.user_idx, u.user_idx) is not null
),
first_places as (
    select list, item, ts, place, number
    from shown
    qualify row_number() over (partition by list, item order by ts, place, number) = 1
),
placed as (
    select list, item, row_number() over (partition by list order by ts, place, number) - 1 as position
    from first_places
),
known as (
    select p.list, i.item_idx, p.position
    from placed as p
    join items as i on i.raw_id = p.item
    semi join lists using (list)
),
engaged as (
    select c.list, c.item_idx, min(c.source_row) as source_row
    from clicked as c
    join lists as l on l.list = c.list and l.user_idx = c.user_idx and l.behavior = c.behavior
    semi join known on known.list = c.list
    group by c.list, c.item_idx
),
both_sides as (
    select list, item_idx, k.position, e.source_row
    from known as k
    full join engaged as e using (list, item_idx)
)
select
    dense_rank() over (order by l.user_idx, l.ts, l.list) - 1 as list_idx,
    l.user_idx,
    l.behavior,
    l.query_idx,
    l.ts,
    b.item_idx,
    b.position,
    b.source_row
from both_sides as b
join lists as l using (list)
