-- Number of rows with each value of each feature, in whole numbers. A day is 86,400,000 ms.
create table histogram as
with gaps as (
    select (ts - lag(ts) over (partition by user_idx order by file_row_number)) // 86400000 as days
    from events
),
observed as (
    select 'events_per_user' as feature, count(*) as value from events group by user_idx
    union all
    select 'events_per_item', count(*) from events group by item_idx
    union all
    select 'event_is_search', (behavior = 'src')::bigint from events
    union all
    select 'event_hour_utc', ts // 3600000 % 24 from events
    union all
    select 'event_weekday', (ts // 86400000 + 3) % 7 from events
    union all
    select 'days_since_previous', days from gaps where days is not null
    union all
    select 'query_words', len(string_split(q.text, ' ')) from events join queries as q using (query_idx)
    union all
    select 'title_words', len(list_filter(string_split(title, ' '), lambda w: w <> '')) from items
    union all
    select 'description_words', len(list_filter(string_split(description, ' '), lambda w: w <> '')) from items
    union all
    select 'category_paths', len(category_paths) from items
)
select feature, value::bigint as value, count(*) as "rows"
from observed
group by all
