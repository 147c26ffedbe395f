-- A list of the wrong length. Lists of the protocol shown may be shorter, and none is empty.
with lengths as (
    select split, protocol, sample_id, coalesce(len(item_idx), 0) as items, (select negatives from settings) as most
    from candidates
)
select l.split, l.protocol, l.sample_id, l.items, l.most
from lengths as l
left join protocols as p using (protocol)
where l.items not between (case when p.may_be_short then 1 else l.most end) and l.most
