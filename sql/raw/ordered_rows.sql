-- The rows of a database's answer (given), ordered by all columns: the same rows are the same sequence.
select *
from given
order by all
