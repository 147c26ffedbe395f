-- The words of every distinct path, in order, without stop words. Characters are dropped, not replaced by a blank:
-- "Women's Hi-Fi" is "womens hifi".
create table path_words as
with cleaned as (
    select distinct path, string_split(lower(regexp_replace(path, '[^a-zA-Z ]', '', 'g')), ' ') as words
    from item_paths
),
numbered as (
    select path, unnest(words) as word, generate_subscripts(words, 1) as position
    from cleaned
)
select path, word, position
from numbered
anti join stop_words using (word)
where word <> ''
