create or replace table slice as
select number, sample_id, user_idx, query_idx
from numbered_samples
where number >= $first and number < $stop
