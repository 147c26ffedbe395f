-- One block of review lines (batch: line_no, text) -> events, or the reason why a line is none.
-- 2014 and 2018 release: reviewerID, asin, overall, unixReviewTime (seconds). The 2023 release has other names.
-- Ids may be numbers; what programs write for a missing value is no id.
with lines as (
    select line_no, text, case when json_valid(text) then text end as js
    from batch
),
fields as (
    select
        line_no,
        text,
        js,
        js is not null and json_type(js) = 'OBJECT' as is_object,
        regexp_replace(trim(json_extract_string(js, '$.reviewerID')), '^(\d+)\.0$', '\1') as user,
        regexp_replace(trim(json_extract_string(js, '$.asin')), '^(\d+)\.0$', '\1') as item,
        json_extract_string(js, '$.overall') as overall,
        json_extract_string(js, '$.unixReviewTime') as seconds
    from lines
),
typed as (
    select
        *,
        try_cast(overall as double) as rating,
        try_cast(try_cast(seconds as decimal(38, 3)) as bigint) as s
    from fields
),
final as (
    select
        user,
        item,
        try_cast(s::hugeint * 1000 as bigint) as ts,
        rating,
        line_no as line,
        case
            when not is_object then 'not a JSON object'
            when user is null and json_exists(js, '$.user_id') and json_exists(js, '$.parent_asin')
                then 'a line of the 2023 release: user_id and parent_asin where reviewerID and asin are expected'
            when no_value(user) then 'no reviewerID'
            when no_value(item) then 'no asin'
            when seconds is null then 'no unixReviewTime'
            when s is null then 'unixReviewTime is not a number'
            when s = 0 then 'timestamp is zero'
            when s between $earliest and $latest
                then 'timestamp in the wrong unit: milliseconds where seconds are expected'
            when s * 1000.0 > $latest then 'timestamp in the future'
            when s * 1000.0 < $earliest then 'timestamp before ingest.earliest'
            when overall is null then 'no overall (rating)'
            when rating is null then 'overall is not a number'
            when rating not between 0 and 5 then 'overall is not between 0 and 5'
        end as reason,
        text as excerpt
    from typed
)
select * from final order by line
