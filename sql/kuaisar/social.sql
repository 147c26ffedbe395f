-- One block of social_network.csv (batch: all columns as text, line_no) -> who follows whom, or the reason for a reject.
with final as (
    select
        regexp_replace(trim(user_id), '\.0$', '') as user,
        regexp_replace(trim(user_follow_id), '\.0$', '') as followee,
        line_no as line,
        case
            when no_value(user_id) then 'no user_id'
            when no_value(user_follow_id) then 'no user_follow_id'
        end as reason,
        concat_ws(',', user_id, user_follow_id) as excerpt
    from batch
)
select * from final order by line
