-- Held-out targets that their user had already met in training, so that training does not draw them as negatives: repeat
-- purchases, excluded by the user's own training events and by nothing else (audit target_never_negative).
select
    count(*) as held_out_samples,
    count(n.item_idx) as met_in_training,
    count(n.item_idx) / nullif(count(*), 0) as share
from samples as s
left join never_negative as n using (user_idx, item_idx)
where s.split <> 'train'
