-- Not an audit: the samples, each with its moment: with prepare.same_time: exclude, its time.
create view sample_moments as
select *, ts as moment
from samples
