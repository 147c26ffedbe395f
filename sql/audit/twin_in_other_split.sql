-- The same user, item and time in both tasks but in different splits: one task's answer would be the other's training.
select r.sample_id as recommendation, r.split as recommendation_split, s.sample_id as search, s.split as search_split
from samples as r
join samples as s using (user_idx, item_idx, ts)
where r.task = 'recommendation' and s.task = 'search' and r.split <> s.split
