-- By time: events up to the quantile $train of all times train, then valid up to the quantile $valid, the rest test.
-- Events of one instant stay together.
create table event_split as
with cuts as (
    select quantile_disc(ts, $train) as train_end, quantile_disc(ts, $valid) as valid_end
    from events
)
select
    position,
    case
        when ts <= train_end then 'train'
        when ts <= valid_end then 'valid'
        else 'test'
    end as split
from events
cross join cuts
