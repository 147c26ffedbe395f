-- An impression that led to an event of another user or item, or to none; one that was neither shown nor engaged; or a
-- recommendation with a query.
select i.list_idx, i.item_idx, i.position, i.source_row, i.behavior, i.query_idx
from impressions as i
left join events as e
    on e.source_row = i.source_row
    and e.behavior = i.behavior
    and e.user_idx = i.user_idx
    and e.item_idx = i.item_idx
where (i.source_row is not null and e.source_row is null)
    or (i.source_row is null and i.position is null)
    or (i.behavior = 'rec' and i.query_idx is not null)
