-- The evaluation samples of $split numbered in the order of their file, to draw candidates slice by slice.
create or replace table numbered_samples as
select
    row_number() over (order by task, user_idx, ts, sample_id) - 1 as number,
    sample_id,
    user_idx
from samples
where split = $split
