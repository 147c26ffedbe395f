-- A sample whose history holds an event of the sample's moment or later, or of another user. The last moment up to each
-- event says so without a join of every sample with every event.
with latest as (
    select
        file_row_number as position,
        user_idx,
        max(moment) over (partition by user_idx order by file_row_number) as latest
    from moments
)
select s.sample_id, s.split, s.user_idx, s.moment, s.history_end, l.latest
from sample_moments as s
left join user_ranges as r using (user_idx)
left join latest as l on l.position = s.history_end - 1 and l.user_idx = s.user_idx
where
    r.user_idx is null
    or s.history_end < r.first_event
    or s.history_end > r.stop_event
    or l.latest >= s.moment
