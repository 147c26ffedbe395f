-- The list that led to each engagement, by its row.
create table engaged_lists as
select source_row, case when query is null then 'rec' else 'src' end as behavior, list
from engagements
where list is not null and not without_text
