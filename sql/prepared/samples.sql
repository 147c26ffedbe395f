-- One sample per event. Its history ends before the first event of the user with the same time: in events sorted by
-- user and time, that is the smallest position of the tie, so nothing with ts >= the sample's ts can enter. With $include
-- it ends before the first event of the tie with the sample's item: its source row, which its twin of the other task
-- shares, or an earlier row of the same item. So the other events of the tie enter in the order of source rows, the answer
-- does not. sample_id depends on raw values only and stays the same when the data grow.
create table samples as
with described as (
    select
        e.*,
        s.split,
        case e.behavior when 'rec' then 'recommendation' else 'search' end as task,
        min(e.position) over (partition by e.user_idx, e.ts, case when $include then e.item_idx end) as history_end,
        min(e.position) over (partition by e.user_idx) as history_start
    from events as e
    join event_split as s using (position)
)
select
    left(md5(concat_ws(chr(31), d.task, u.raw_id, i.raw_id, d.ts, coalesce(q.text, ''))), 16) as sample_id,
    d.task,
    d.user_idx,
    d.item_idx,
    d.query_idx,
    d.ts,
    d.history_end,
    d.history_start,
    d.split
from described as d
join users as u using (user_idx)
join items as i using (item_idx)
left join queries as q using (query_idx)
