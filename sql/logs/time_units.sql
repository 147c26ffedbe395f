-- One block (batch: time, text; number, the same as a number or null) -> how many of its times are credible in each unit.
-- A number is so in one unit at most: the units lie a thousandfold apart, the credible times do not.
select
    count(*) filter (number between $earliest / 1000 and $latest / 1000) as s,
    count(*) filter (number between $earliest and $latest) as ms,
    count(*) filter (number between $earliest * 1000 and $latest * 1000) as us,
    count(*) filter (number between $earliest * 1000000 and $latest * 1000000) as ns,
    count(*) filter (
        case when number is null then epoch_ms(try_cast(time as timestamptz)) end between $earliest and $latest
    ) as iso
from batch
