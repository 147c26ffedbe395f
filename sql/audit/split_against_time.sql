-- A user whose training goes on after the start of the user's valid or test samples, or valid after test. Equal times
-- are no violation: the day is all that Amazon gives, and histories leave ties out.
with bounds as (
    select
        user_idx,
        max(ts) filter (split = 'train') as train_end,
        min(ts) filter (split = 'valid') as valid_start,
        max(ts) filter (split = 'valid') as valid_end,
        min(ts) filter (split = 'test') as test_start
    from samples
    group by user_idx
)
select *
from bounds
where train_end > valid_start or train_end > test_start or valid_end > test_start
