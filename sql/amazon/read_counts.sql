-- How many rows each step of the reading left, for the manifest.
select
    (select count(*) from raw_reviews) as reviews,
    (select count(*) from raw_reviews) - (select count(*) from interactions where behavior = 'rec')
        as duplicates_dropped
