-- A ticket for every item: all have the same chance.
create or replace view drawn as
select number, user_idx, missing, draw, ticket::integer as item_idx
from tickets
