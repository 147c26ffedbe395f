-- One round of drawing, for the samples of the slice that are still short of $negatives: tickets of draws $first_draw ..
-- $stop_draw - 1 of each, uniform over 0 .. $tickets - 1. A ticket is a digest of ($salt, seed, sample_id, draw number):
-- the same whatever the order, the threads or DuckDB's own hash. A null $salt is left out by concat_ws.
create or replace table tickets as
with short as (
    select s.number, s.sample_id, s.user_idx, $negatives - count(c.item_idx) as missing
    from slice as s
    left join chosen as c using (number)
    group by all
    having missing > 0
)
select
    s.number,
    s.user_idx,
    s.missing,
    d.draw,
    ('0x' || left(md5(concat_ws(chr(31), $salt::varchar, $seed, s.sample_id, d.draw)), 15))::bigint % $tickets as ticket
from short as s
cross join range($first_draw, $stop_draw) as d (draw)
