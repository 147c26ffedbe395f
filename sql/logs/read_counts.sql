-- Number of events after each step of the reading, and of users by behavior, for the manifest.
with behaviors as (
    select "user", bool_or(behavior = 'rec') as recommended, bool_or(behavior = 'src') as searched
    from interactions
    group by "user"
)
select
    (select count(*) from raw_events) as event_rows,
    (select count(*) from raw_events where engagement = 'ignored') as ignored_by_type,
    (select count(*) from raw_events where engagement = 'shown') as impressions,
    (select count(*) from engagements where without_text) as searches_without_text,
    (select count(*) from engagements where not without_text) - (select count(*) from interactions) as repeats_merged,
    (select count(*) from interactions where behavior = 'rec') as recommendation_events,
    (select count(*) from interactions where behavior = 'src') as search_events,
    (select count(*) from behaviors where not searched) as users_without_search,
    (select count(*) from behaviors where not recommended) as users_without_recommendation
