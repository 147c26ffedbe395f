-- Amazon: number of samples that would leak under a common published recipe. There the search event has the time of its
-- purchase, events are sorted by time, and a history is all events before the sample in that order. Such a history may
-- hold events that are not earlier than the sample, and its own answer, the twin event of the other task.
with placed as (
    select
        row_number() over (partition by user_idx, ts order by file_row_number) as in_tie,
        row_number() over (partition by user_idx, item_idx, ts order by file_row_number) as among_twins
    from events
)
select
    count(*) as samples,
    count(*) filter (in_tie > 1) as history_not_earlier,
    count(*) filter (among_twins > 1) as answer_in_history,
    count(*) filter (among_twins > 1) / nullif(count(*), 0) as answer_in_history_share
from placed
