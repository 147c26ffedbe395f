-- A list of the protocol shown that differs from what was shown beside the sample's item: its items are those of the
-- list that led to the engagement, in their order, up to the length of the lists, without items that the user met. A
-- sample with such items has a list, and no other sample has one.
with happened as (
    select user_idx, item_idx, ts, query_idx, behavior, source_row
    from events
),
led as (
    select s.split, s.sample_id, s.user_idx, engaged.list_idx
    from samples as s
    join happened as h using (user_idx, item_idx, ts)
    join impressions as engaged on engaged.source_row = h.source_row and engaged.behavior = h.behavior
    where s.split <> 'train' and s.query_idx is not distinct from h.query_idx
),
beside as (
    select
        l.split,
        l.sample_id,
        o.item_idx,
        row_number() over (partition by l.split, l.sample_id order by o.position) as place
    from led as l
    join impressions as o on o.list_idx = l.list_idx
    where o.position is not null
        and not exists (select 1 from events as e where e.user_idx = l.user_idx and e.item_idx = o.item_idx)
),
expected as (
    select *
    from beside
    where place <= (select negatives from settings) and (select bool_or(may_be_short) from protocols)
),
stored as (
    select split, sample_id, unnest(item_idx) as item_idx, generate_subscripts(item_idx, 1) as place
    from candidates
    where protocol = 'shown'
)
select
    coalesce(s.split, e.split) as split,
    coalesce(s.sample_id, e.sample_id) as sample_id,
    coalesce(s.place, e.place) as place,
    s.item_idx as candidate,
    e.item_idx as shown
from stored as s
full join expected as e using (split, sample_id, place)
where s.item_idx is distinct from e.item_idx
