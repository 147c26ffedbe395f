-- One block of events (batch: text by role, line_no) -> typed events, or the reason for a reject. What a type means
-- is in event_types; an event without a type is an engagement. Events of ignored types need no ids and no times.
with numbers as (
    select
        b.*,
        case when b.behavior is null then 'rec' else t.engagement end as engagement,
        case when $unit <> 'iso' then try_cast(b.time as decimal(30, 6)) end as number
    from batch as b
    left join event_types as t on t.event_type = b.behavior
),
rows as (
    select
        *,
        case $unit
            when 's' then try_cast(number * 1000 as bigint)
            when 'ms' then try_cast(number as bigint)
            when 'us' then try_cast(number as bigint) // 1000
            when 'ns' then try_cast(number as bigint) // 1000000
            else epoch_ms(try_cast(time as timestamptz))
        end as ts
    from numbers
),
final as (
    select
        "user",
        item,
        ts,
        behavior,
        engagement,
        query,
        query_id,
        session,
        try_cast(weight as double) as weight,
        try_cast(try_cast(position as double) as bigint) as position,
        item_title,
        line_no as line,
        case
            when engagement = 'ignored' then null
            when "user" is null then 'no ' || $user
            when item is null then 'no ' || $item
            when time is null then 'no ' || $time
            when ts between $earliest and $latest then null
            when $unit = 'iso' and ts is null then 'time is not ISO 8601, as those of the rest of the file are'
            when ts is null then 'time is not a number'
            when number = 0 then 'time is zero'
            when number * 1000 between $earliest and $latest
                then 'timestamp in the wrong unit: s, and the file is in ' || $unit
            when number between $earliest and $latest
                then 'timestamp in the wrong unit: ms, and the file is in ' || $unit
            when number / 1000 between $earliest and $latest
                then 'timestamp in the wrong unit: us, and the file is in ' || $unit
            when number / 1000000 between $earliest and $latest
                then 'timestamp in the wrong unit: ns, and the file is in ' || $unit
            when ts > $latest then 'timestamp in the future'
            else 'timestamp before ingest.earliest'
        end as reason,
        concat_ws(',', "user", item, time, behavior, query) as excerpt
    from rows
)
select * from final order by line
