-- The evaluated user with the fewest items that the user has not met, and the number of all users.
with evaluated as (
    select distinct user_idx
    from samples
    where split <> 'train'
)
select
    u.raw_id,
    (select count(*) from items) as items,
    (select count(*) from users) as users,
    count(*) as met
from met
semi join evaluated using (user_idx)
join users as u using (user_idx)
group by u.raw_id
order by met desc, u.raw_id
limit 1
