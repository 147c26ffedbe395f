-- What was drawn, minus what the user met and what the sample has already, up to $negatives. Drawing again after such an
-- item is drawing without replacement: of the items left, each has a chance in proportion to its tickets.
insert into chosen
with fresh as (
    select number, missing, item_idx, min(draw) as draw
    from drawn
    anti join met using (user_idx, item_idx)
    anti join chosen using (number, item_idx)
    group by all
)
select number, item_idx, draw
from fresh
qualify row_number() over (partition by number order by draw) <= missing
