-- One block of src_inter.csv (batch: all columns as text, line_no) -> shown search results, or the reason for a reject.
-- A keyword "[20, 34, 3]" becomes the query "w20 w34 w3": anonymised words, in the order typed.
with rows as (
    select
        line_no,
        regexp_replace(trim(user_id), '\.0$', '') as user,
        regexp_replace(trim(item_id), '\.0$', '') as item,
        trim(search_session_timestamp) as ms,
        trim(keyword) as keyword,
        trim(search_session_id) as session,
        trim(click_cnt) as clicks,
        trim(item_type) as item_type,
        trim(search_source) as source,
        try_cast(try_cast(search_session_timestamp as decimal(38, 3)) as bigint) as ts,
        try_cast(click_cnt as double) as click_cnt
    from batch
),
final as (
    select
        user,
        item,
        ts,
        array_to_string(list_transform(regexp_extract_all(keyword, '\d+'), lambda word: 'w' || word), ' ') as query,
        session,
        try_cast(click_cnt as integer) as click_cnt,
        item_type,
        source,
        line_no as line,
        case
            when no_value(user) then 'no user_id'
            when no_value(item) then 'no item_id'
            when no_value(session) then 'no search_session_id'
            when coalesce(ms, '') = '' then 'no search_session_timestamp'
            when ts is null then 'search_session_timestamp is not a number'
            when ts = 0 then 'timestamp is zero'
            when ts * 1000.0 between $earliest and $latest
                then 'timestamp in the wrong unit: seconds where milliseconds are expected'
            when ts / 1000.0 between $earliest and $latest
                then 'timestamp in the wrong unit: microseconds where milliseconds are expected'
            when ts > $latest then 'timestamp in the future'
            when ts < $earliest then 'timestamp before ingest.earliest'
            when not regexp_full_match(keyword, '\[\s*(\d+\s*(,\s*\d+\s*)*)?\]')
                then 'keyword is not a list of word ids'
            when click_cnt is null or click_cnt not between 0 and 1e9 or click_cnt <> floor(click_cnt)
                then 'click_cnt is not a count'
        end as reason,
        concat_ws(',', keyword, item, clicks, session, item_type, user, ms, source) as excerpt
    from rows
)
select * from final order by line
