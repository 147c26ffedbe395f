-- For the samples of the slice that rounds of drawing left short (a small catalogue where most tickets are of few
-- items): the same distribution in one step. With u uniform, the items with the smallest -ln(u) / weight are a draw
-- without replacement in proportion to weight (Efraimidis and Spirakis 2006). $first_draw: places after earlier draws.
insert into chosen
with short as (
    select s.number, s.sample_id, s.user_idx, $negatives - count(c.item_idx) as missing
    from slice as s
    left join chosen as c using (number)
    group by all
    having missing > 0
),
keyed as (
    select
        s.number,
        s.user_idx,
        s.missing,
        w.item_idx,
        -ln((('0x' || left(md5(concat_ws(chr(31), $salt::varchar, $seed, s.sample_id, 'key', w.item_idx)), 13))::bigint + 1)
            / (1::bigint << 52)) / w.weight as key
    from short as s
    cross join item_weights as w
),
ranked as (
    select number, missing, item_idx, row_number() over (partition by number order by key, item_idx) as place
    from keyed
    anti join met using (user_idx, item_idx)
    anti join chosen using (number, item_idx)
)
select number, item_idx, $first_draw + place as draw
from ranked
where place <= missing
