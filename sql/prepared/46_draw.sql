-- One round of drawing, for the samples of the slice that are still short of $negatives: draws $first_draw ..
-- $stop_draw - 1 of each, uniform over the catalogue, minus what the user met and what the sample has already. A draw
-- is a digest of (seed, sample_id, draw number): the same whatever the order, the threads or DuckDB's own hash.
insert into chosen
with short as (
    select s.number, s.sample_id, s.user_idx, $negatives - count(c.item_idx) as missing
    from slice as s
    left join chosen as c using (number)
    group by all
    having missing > 0
),
drawn as (
    select
        s.number,
        s.user_idx,
        s.missing,
        d.draw,
        (('0x' || left(md5(concat_ws(chr(31), $seed, s.sample_id, d.draw)), 15))::bigint % $items)::integer as item_idx
    from short as s
    cross join range($first_draw, $stop_draw) as d (draw)
),
fresh as (
    select number, missing, item_idx, min(draw) as draw
    from drawn
    anti join met using (user_idx, item_idx)
    anti join chosen using (number, item_idx)
    group by all
)
select number, item_idx, draw
from fresh
qualify row_number() over (partition by number order by draw) <= missing
