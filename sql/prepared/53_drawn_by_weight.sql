-- Every item has as many tickets as its weight.
create or replace view drawn as
select t.number, t.user_idx, t.missing, t.draw, w.item_idx
from tickets as t
asof join item_weights as w on t.ticket >= w.first_ticket
