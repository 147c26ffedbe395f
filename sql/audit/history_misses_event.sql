-- A sample whose history lacks an event of the user from an earlier moment.
with earliest as (
    select
        file_row_number as position,
        user_idx,
        min(moment) over (
            partition by user_idx order by file_row_number rows between current row and unbounded following
        ) as earliest
    from moments
)
select s.sample_id, s.split, s.user_idx, s.moment, s.history_end, e.earliest
from sample_moments as s
join earliest as e on e.position = s.history_end and e.user_idx = s.user_idx
where e.earliest < s.moment
