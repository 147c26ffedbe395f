-- One block of rec_inter.csv (batch: all columns as text, line_no) -> shown recommendations, or the reason for a reject.
with rows as (
    select
        line_no,
        regexp_replace(trim(user_id), '\.0$', '') as user,
        regexp_replace(trim(item_id), '\.0$', '') as item,
        trim("timestamp") as ms,
        trim(click) as click,
        try_cast(try_cast("timestamp" as decimal(38, 3)) as bigint) as ts,
        try_cast(click as double) as clicked
    from batch
),
final as (
    select
        user,
        item,
        ts,
        try_cast(clicked as tinyint) as click,
        line_no as line,
        case
            when no_value(user) then 'no user_id'
            when no_value(item) then 'no item_id'
            when coalesce(ms, '') = '' then 'no timestamp'
            when ts is null then 'timestamp is not a number'
            when ts = 0 then 'timestamp is zero'
            when ts * 1000.0 between $earliest and $latest
                then 'timestamp in the wrong unit: seconds where milliseconds are expected'
            when ts / 1000.0 between $earliest and $latest
                then 'timestamp in the wrong unit: microseconds where milliseconds are expected'
            when ts > $latest then 'timestamp in the future'
            when ts < $earliest then 'timestamp before ingest.earliest'
            when clicked is null or clicked not in (0, 1) then 'click is neither 0 nor 1'
        end as reason,
        concat_ws(',', user, item, ms, click) as excerpt
    from rows
)
select * from final order by line
