-- How many category paths there are, and how many of them hold no letter that a query may have, but others.
select
    count(*) as paths,
    count(*) filter (not regexp_matches(path, '[a-zA-Z]') and regexp_matches(path, '[^\x00-\x7F]')) as unwritten
from (select distinct path from item_paths)
