-- Not an audit: the candidate lists of both evaluation splits, each with its place among the lists of its protocol.
create view candidates as
with stored as (
    select 'valid' as split, * from candidates_valid
    union all
    select 'test' as split, * from candidates_test
)
select
    row_number() over (partition by split, protocol order by file_row_number) - 1 as number,
    * exclude (file_row_number)
from stored
