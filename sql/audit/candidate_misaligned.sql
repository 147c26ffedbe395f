-- Lists of a protocol that are not in the order of its samples, one per sample; a list without its sample or a sample
-- without its list; or a protocol that the config does not draw. bm25 is for search only, and shown for samples with
-- impressions: which these are is candidate_not_shown's.
with listed as (
    select distinct split, protocol, sample_id
    from candidates
),
served as (
    select
        s.split,
        p.protocol,
        row_number() over (partition by s.split, p.protocol order by s.number) - 1 as number,
        s.sample_id
    from (from samples where split <> 'train') as s
    cross join protocols as p
    left join listed as l on l.split = s.split and l.protocol = p.protocol and l.sample_id = s.sample_id
    where (not p.searches_only or s.query_idx is not null) and (not p.may_be_short or l.sample_id is not null)
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
