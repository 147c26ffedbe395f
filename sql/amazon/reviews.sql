-- One block of review lines (batch: line_no, text) -> events, or the reason why a line is none.
-- 2014 and 2018 release: reviewerID, asin, overall, unixReviewTime (seconds).
with lines as (
    select line_no, text, case when json_valid(text) then text end as js
    from batch
),
fields as (
    select
        line_no,
        text,
        js is not null and json_type(js) = 'OBJECT' as is_object,
        trim(json_extract_string(js, '$.reviewerID')) as user,
        trim(json_extract_string(js, '$.asin')) as item,
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
            when coalesce(user, '') = '' then 'no reviewerID'
            when coalesce(item, '') = '' then 'no asin'
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
