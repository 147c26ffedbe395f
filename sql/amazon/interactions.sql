-- Every review is one purchase. A line that repeats user, item and time repeats the purchase; the same item at another
-- time is another purchase. source_row = the first such row of raw/reviews.parquet.
create table interactions as
select "user", item, ts, 'rec' as behavior, null::varchar as query, min(file_row_number) as source_row
from raw_reviews
group by "user", item, ts
