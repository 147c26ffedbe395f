-- The candidates of the protocol shown, one row per evaluation sample that has any: the first $negatives items of the
-- list that led to the sample's engagement, without items that the user met.
create table shown_lists as
with led as (
    select s.split, s.task, s.user_idx, s.ts, s.sample_id, i.list_idx
    from samples as s
    join events as e
        on e.user_idx = s.user_idx
        and e.item_idx = s.item_idx
        and e.ts = s.ts
        and e.query_idx is not distinct from s.query_idx
    join impressions as i on i.source_row = e.source_row and i.behavior = e.behavior
    where s.split <> 'train'
)
select
    l.split,
    l.task,
    l.user_idx,
    l.ts,
    l.sample_id,
    list(i.item_idx order by i.position)[:$negatives] as item_idx
from led as l
join impressions as i using (list_idx)
anti join met on met.user_idx = l.user_idx and met.item_idx = i.item_idx
group by l.split, l.task, l.user_idx, l.ts, l.sample_id
