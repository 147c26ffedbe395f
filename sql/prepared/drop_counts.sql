-- Drop what only the filter reads.
drop table item_counts;
drop table if exists rare_items;
