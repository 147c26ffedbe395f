-- Distinct queries, their words (between blanks), and the number of queries with a letter of each script. A query may
-- have letters of several; one without any letter is a number or a sign.
with described as (
    select text, len(string_split_regex(trim(text), '\s+')) as words
    from queries
)
select
    count(*) as "distinct",
    avg(words) as words_mean,
    max(words) as words_max,
    count(*) filter (regexp_matches(text, '\p{Latin}')) as "Latin",
    count(*) filter (regexp_matches(text, '\p{Han}')) as "Han",
    count(*) filter (regexp_matches(text, '[\p{Hiragana}\p{Katakana}]')) as "Kana",
    count(*) filter (regexp_matches(text, '\p{Hangul}')) as "Hangul",
    count(*) filter (regexp_matches(text, '\p{Cyrillic}')) as "Cyrillic",
    count(*) filter (regexp_matches(text, '\p{Greek}')) as "Greek",
    count(*) filter (regexp_matches(text, '\p{Arabic}')) as "Arabic",
    count(*) filter (regexp_matches(text, '\p{Hebrew}')) as "Hebrew",
    count(*) filter (regexp_matches(text, '\p{Devanagari}')) as "Devanagari",
    count(*) filter (regexp_matches(text, '\p{Thai}')) as "Thai",
    count(*) filter (not regexp_matches(text, '\p{L}')) as "no letter"
from described
