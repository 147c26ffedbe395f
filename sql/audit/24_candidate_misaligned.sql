-- A row of candidates that is not its sample's row, or either without the other: readers take them side by side.
select
    coalesce(s.split, c.split) as split,
    coalesce(s.number, c.number) as number,
    s.sample_id as sample,
    c.sample_id as candidates_of
from (from samples where split <> 'train') as s
full join candidates as c on c.split = s.split and c.number = s.number
where s.sample_id is distinct from c.sample_id
