-- An event that does not follow its predecessor in (user, ts, source row, behavior): slices of events would not be
-- histories. Equal keys are out of order too, since the order must be total.
with followed as (
    select
        file_row_number as position,
        (user_idx, ts, source_row, behavior) as key,
        lag((user_idx, ts, source_row, behavior)) over (order by file_row_number) as previous
    from events
)
select position, key, previous
from followed
where previous is not null and key <= previous
