-- The best matches of each sample's query that the user has not met, best first; equal scores in the order of a digest
-- of ($seed, sample_id, item).
with ranked as (
    select
        s.number,
        m.item_idx,
        row_number() over (
            partition by s.number
            order by m.score desc, md5(concat_ws(chr(31), 'bm25', $seed, s.sample_id, 'match', m.item_idx))
        ) - 1 as place
    from slice as s
    join matches as m using (query_idx)
    anti join met on met.user_idx = s.user_idx and met.item_idx = m.item_idx
)
select number, item_idx, place
from ranked
where place < $negatives
