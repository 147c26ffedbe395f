-- One block (batch: time, text) -> how many of its times are credible in each unit. A number is so in one unit at most:
-- the units lie a thousandfold apart, the credible times do not.
with numbers as (
    select time, try_cast(time as decimal(30, 6)) as number
    from batch
)
select
    count(*) filter (number * 1000 between $earliest and $latest) as s,
    count(*) filter (number between $earliest and $latest) as ms,
    count(*) filter (number / 1000 between $earliest and $latest) as us,
    count(*) filter (number / 1000000 between $earliest and $latest) as ns,
    count(*) filter (
        case when number is null then epoch_ms(try_cast(time as timestamptz)) end between $earliest and $latest
    ) as iso
from numbers
