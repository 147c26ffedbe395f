select split, task, count(*) as samples, count(*) filter (history_end = history_start) as empty_history
from samples
group by split, task
order by split, task
