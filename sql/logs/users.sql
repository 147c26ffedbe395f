-- One block of users (batch: text by role, line_no) -> users, or the reason for a reject.
select
    "user",
    line_no as line,
    case
        when "user" is null then 'no ' || $user
        when is_nested("user") then $user || ' is a list or an object: one id is expected'
    end as reason,
    "user" as excerpt
from batch
order by line
