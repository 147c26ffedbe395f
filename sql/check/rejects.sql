-- Rejected rows by reason, the most frequent first, each with the place of the first row.
select
    reason,
    count(*) as "rows",
    arg_min(file, (file, line)) as file,
    arg_min(line, (file, line)) as line
from rejects
group by reason
order by "rows" desc, reason
limit 20
