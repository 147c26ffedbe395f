-- The order is total: of two events of one user, time and source row, one is 'rec' and one 'src' (and 'rec' < 'src').
create table events as
select
    row_number() over (order by u.user_idx, x.ts, x.source_row, x.behavior) - 1 as position,
    u.user_idx,
    i.item_idx,
    x.behavior,
    q.query_idx,
    x.ts,
    x.source_row
from interactions as x
join users as u on u.raw_id = x."user"
join items as i on i.raw_id = x.item
left join queries as q on q.text = x.query
order by position
