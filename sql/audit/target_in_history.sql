-- A sample whose history holds its own answer: its event, or the event's twin of the other task, which has the same time
-- in Amazon. An earlier purchase of the same item is another event and no leak.
select s.sample_id, s.split, s.task, s.user_idx, s.item_idx, s.history_end, e.file_row_number as position
from samples as s
join events as e
    on e.user_idx = s.user_idx
    and e.item_idx = s.item_idx
    and e.ts = s.ts
    and e.file_row_number < s.history_end
