-- The engaged events before anything is filtered: by behavior, users and items, the first and the last time, and ties
-- (events of one user and behavior at one time). The user with most events may be a placeholder for many.
with moments as (
    select "user", behavior, ts, count(*) as events
    from interactions
    group by all
),
users as (
    select
        "user",
        sum(events)::bigint as events,
        bool_or(behavior = 'rec') as recommended,
        bool_or(behavior = 'src') as searched
    from moments
    group by "user"
)
select
    (select coalesce(sum(events), 0)::bigint from moments where behavior = 'rec') as recommendation,
    (select coalesce(sum(events), 0)::bigint from moments where behavior = 'src') as search,
    (select coalesce(sum(events), 0)::bigint from moments where events > 1) as tied,
    (select count(*) from users) as users,
    (select count(distinct item) from interactions) as items,
    (select count(*) from users where recommended and searched) as users_with_both,
    (select max(events) from users) as most_of_a_user,
    (select arg_max("user", (events, "user")) from users) as busiest_user,
    (select min(ts) from moments) as first_ms,
    (select max(ts) from moments) as last_ms
