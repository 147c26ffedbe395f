-- Number of rows after each step of the reading, for the manifest.
select
    (select count(*) from raw_reviews) as reviews,
    (select count(*) from raw_reviews) - (select count(*) from interactions where behavior = 'rec')
        as duplicates_dropped
