-- A held-out target that training can never draw as a negative of its user, without a training event of the user as the
-- reason. A model could learn that an item that is never a negative is the answer. A training event is one that is no
-- evaluation sample.
with held_out as (
    select split, sample_id, user_idx, item_idx
    from samples
    where split <> 'train'
),
training_events as (
    select e.user_idx, e.item_idx
    from events as e
    anti join (from samples where split <> 'train') as s
        on s.user_idx = e.user_idx
        and s.item_idx = e.item_idx
        and s.ts = e.ts
        and s.task = case e.behavior when 'rec' then 'recommendation' else 'search' end
)
select h.split, h.sample_id, h.user_idx, h.item_idx
from held_out as h
semi join never_negative as n on n.user_idx = h.user_idx and n.item_idx = h.item_idx
anti join training_events as t on t.user_idx = h.user_idx and t.item_idx = h.item_idx
