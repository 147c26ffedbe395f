-- A user with training samples after the start of the user's valid or test samples, or valid samples after test. Equal
-- moments are no violation: neither sample is in the history of the other.
with bounds as (
    select
        user_idx,
        max(moment) filter (split = 'train') as train_end,
        min(moment) filter (split = 'valid') as valid_start,
        max(moment) filter (split = 'valid') as valid_end,
        min(moment) filter (split = 'test') as test_start
    from sample_moments
    group by user_idx
)
select *
from bounds
where train_end > valid_start or train_end > test_start or valid_end > test_start
