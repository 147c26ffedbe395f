-- Share of samples, by split, whose history depends on prepare.same_time: events of the sample's own instant are before
-- the sample in the order of source rows. With include they are in its history, with exclude they are not.
with ends as (
    select
        user_idx,
        item_idx,
        ts,
        min(file_row_number) > min(min(file_row_number)) over (partition by user_idx, ts) as touched
    from events
    group by user_idx, item_idx, ts
)
select
    avg(touched::integer) filter (split = 'train') as touched_train,
    avg(touched::integer) filter (split = 'valid') as touched_valid,
    avg(touched::integer) filter (split = 'test') as touched_test
from samples
join ends using (user_idx, item_idx, ts)
