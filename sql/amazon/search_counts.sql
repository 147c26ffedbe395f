-- Number of remaining items and of their category paths that became queries, for the manifest and an error message.
select
    (select count(distinct item) from interactions) as items,
    (select count(distinct item) from item_paths) as items_with_path,
    (select count(distinct item) from item_queries) as items_with_query,
    (select count(distinct query) from item_queries) as distinct_queries,
    (select count(*) from interactions where behavior = 'rec') as purchases,
    (select count(*) from interactions where behavior = 'src') as search_events
