-- A column of numbers as text (batch: time): as exact numbers, null where the text is no number.
select try_cast(time as decimal(30, 6)) as number
from batch
