-- Number of category paths, and of those with only letters that no query may have.
select
    count(*) as paths,
    count(*) filter (not regexp_matches(path, '[a-zA-Z]') and regexp_matches(path, '[^\x00-\x7F]')) as unwritten
from (select distinct path from item_paths)
