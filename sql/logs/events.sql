-- One block of events (batch: text by role; engagement; number, the time as a number; line_no) -> what is typed of each, or the
-- reason for a reject. Events of ignored types and impressions need no ids and no times: many have none. Rows stay in their order.
with rows as (
    select
        *,
        case
            when $format is not null then epoch_ms(try_strptime(time, $format)::timestamptz)
            when $unit = 'iso' then epoch_ms(try_cast(time as timestamptz))
            when $unit = 's' then case when abs(number) < 1e15 then (number * 1000)::bigint end
            when $unit = 'ms' then try_cast(number as bigint)
            when $unit = 'us' then try_cast(number as bigint) // 1000
            else try_cast(number as bigint) // 1000000
        end as ts
    from batch
),
judged as (
    select
        *,
        case
            when engagement in ('ignored', 'shown') then null
            when "user" is null then 'no ' || $user
            when item is null then 'no ' || $item
            when is_nested("user") then $user || ' is a list or an object: one id is expected'
            when is_nested(item) then $item || ' is a list or an object: one id is expected'
            when time is null then 'no ' || $time
            when ts between $earliest and $latest then null
            when $format is not null and ts is null then 'time differs from logs.events.time_format'
            when $unit = 'iso' and ts is null then 'time is not ISO 8601, as those of the rest of the file are'
            when $unit = 'none' and (
                case when number is null then epoch_ms(try_cast(time as timestamptz)) end > $latest
                or number between $latest / 1000 and $latest / 500
                or number between $latest and $latest * 2
                or number between $latest * 1000 and $latest * 2000
            ) then 'timestamp in the future'
            when $unit = 'none' and number is null then 'time is neither a number since 1970 nor ISO 8601'
            when ts is null then 'time is not a number'
            when number = 0 then 'time is zero'
            when regexp_full_match(time, '(19|20)[0-9]{2}[01][0-9][0-3][0-9]')
                then 'time is a day in digits: 2026-01-02 is expected instead of 20260102'
            when number between $earliest / 1000 and $latest / 1000
                then 'timestamp in the wrong unit: s, and the file is in ' || $unit
            when number between $earliest and $latest
                then 'timestamp in the wrong unit: ms, and the file is in ' || $unit
            when number between $earliest * 1000 and $latest * 1000
                then 'timestamp in the wrong unit: us, and the file is in ' || $unit
            when number between $earliest * 1000000 and $latest * 1000000
                then 'timestamp in the wrong unit: ns, and the file is in ' || $unit
            when ts > $latest then 'timestamp in the future'
            else 'timestamp before ingest.earliest'
        end as reason
    from rows
)
select
    ts,
    try_cast(weight as double) as weight,
    try_cast(try_cast(position as double) as bigint) as position,
    line_no as line,
    reason,
    case when reason is not null then concat_ws(',', "user", item, time, behavior, query) end as excerpt
from judged
