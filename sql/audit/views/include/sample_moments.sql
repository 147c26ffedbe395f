-- Not an audit: the samples, each with its moment: with prepare.same_time: include, the first moment of its time at which
-- its user met its item. A sample without an event, which is another audit's, has the first moment of its time.
create table sample_moments as
with met as (
    select user_idx, item_idx, ts, min(moment) as moment
    from moments
    group by all
)
select s.*, coalesce(m.moment, struct_pack(ts := s.ts, source_row := -1::bigint)) as moment
from samples as s
left join met as m using (user_idx, item_idx, ts)
