-- A list that shows an item twice, or two items at one place; or a list of two users, queries or times.
select
    list_idx,
    count(*) as rows,
    count(distinct item_idx) as items,
    count(position) as placed,
    count(distinct position) as places,
    count(distinct (user_idx, behavior, query_idx, ts)) as headers
from impressions
group by list_idx
having rows <> items or placed <> places or headers > 1
