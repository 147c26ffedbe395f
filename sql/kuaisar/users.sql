-- One block of user_features.csv (batch: all columns as text, line_no) -> users, or the reason for a reject.
with final as (
    select
        regexp_replace(trim(user_id), '\.0$', '') as user,
        try_cast(onehot_feat1 as bigint) as onehot_feat1,
        try_cast(onehot_feat2 as bigint) as onehot_feat2,
        try_cast(search_active_level as bigint) as search_active_level,
        try_cast(rec_active_level as bigint) as rec_active_level,
        line_no as line,
        case when no_value(user_id) then 'no user_id' end as reason,
        concat_ws(',', user_id, onehot_feat1, onehot_feat2, search_active_level, rec_active_level) as excerpt
    from batch
)
select * from final order by line
