-- A sample whose history stops before an earlier event of the user.
with earliest as (
    select
        file_row_number as position,
        user_idx,
        min(ts) over (
            partition by user_idx order by file_row_number rows between current row and unbounded following
        ) as earliest_ts
    from events
)
select s.sample_id, s.split, s.user_idx, s.ts, s.history_end, e.earliest_ts
from samples as s
join earliest as e on e.position = s.history_end and e.user_idx = s.user_idx
where e.earliest_ts < s.ts
