-- Without the events of $until (ms since 1970 UTC) and later.
delete from interactions
where ts >= $until
