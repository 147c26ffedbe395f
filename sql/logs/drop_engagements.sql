-- As large as the raw events: gone before the filter begins.
drop table engagements
