-- Lists of a protocol that are not in the order of its samples, one per sample; a list without its sample or a sample
-- without its list; or a protocol that the config does not draw. bm25 is for search only.
with served as (
    select
        s.split,
        p.protocol,
        row_number() over (partition by s.split, p.protocol order by s.number) - 1 as number,
        s.sample_id
    from (from samples where split <> 'train') as s
    cross join protocols as p
    where not p.searches_only or s.query_idx is not null
)
select
    coalesce(s.split, c.split) as split,
    coalesce(s.protocol, c.protocol) as protocol,
    coalesce(s.number, c.number) as number,
    s.sample_id as sample,
    c.sample_id as candidates_of
from served as s
full join candidates as c on c.split = s.split and c.protocol = s.protocol and c.number = s.number
where s.sample_id is distinct from c.sample_id
