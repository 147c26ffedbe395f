select sum(weight)::bigint as tickets
from item_weights
