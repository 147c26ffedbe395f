-- The evaluation samples of $split numbered in the order of their file, to draw candidates slice by slice; with
-- $searches_only those that have a query.
create or replace table numbered_samples as
select
    row_number() over (order by task, user_idx, ts, sample_id) - 1 as number,
    sample_id,
    user_idx,
    query_idx
from samples
where split = $split and (query_idx is not null or not $searches_only)
