-- A purchase (u, i, t) of an item that has queries becomes a search event (u, q, i, t) as well; q is drawn by a digest
-- of the purchase, so that neither row order nor other rows decide it. 15 hex digits fit a bigint.
insert into interactions
select
    p."user",
    p.item,
    p.ts,
    'src' as behavior,
    q.query,
    p.source_row
from interactions as p
join item_queries as q
    on q.item = p.item
    and q.number = ('0x' || left(md5(concat_ws(chr(31), $seed, p."user", p.item, p.ts)), 15))::bigint % q.queries
where p.behavior = 'rec'
