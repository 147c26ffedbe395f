-- Number of rows after each step of the reading, for the manifest.
select
    (select count(*) from raw_rec) as rec_rows,
    (select count(*) from raw_src) as src_rows,
    (select count(*) from raw_rec) - (select count(*) from rec_rows) as rec_duplicates_dropped,
    (select count(*) from raw_src) - (select count(*) from src_rows) as src_duplicates_dropped,
    (select count(*) from rec_rows where engaged) as rec_engaged,
    (select count(*) from src_rows where engaged) as src_engaged,
    (select count(*) from src_rows where engaged and trim(coalesce(query, '')) = '') as src_without_query
