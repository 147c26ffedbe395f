-- Share of search samples whose query words all occur in the target's text, with its category words and without. Queries
-- from category paths occur in these by construction, so only the second share measures real word matching. Words are
-- compared in the form of queries (letters only, lower case) and unchanged.
with asked as (
    select item_idx, query_idx, count(*) as samples
    from samples
    where query_idx is not null
    group by all
),
query_words as (
    select query_idx, list_filter(string_split(text, ' '), lambda w: w <> '') as words
    from queries
),
texts as (
    select item_idx, concat_ws(' ', title, brand, description) as own, concat_ws(' ', own, category_text) as whole
    from items
    semi join asked using (item_idx)
),
text_words as (
    select
        item_idx,
        list_concat(
            string_split(lower(regexp_replace(own, '[^a-zA-Z ]', '', 'g')), ' '),
            string_split(lower(own), ' ')
        ) as own_words,
        list_concat(
            string_split(lower(regexp_replace(whole, '[^a-zA-Z ]', '', 'g')), ' '),
            string_split(lower(whole), ' ')
        ) as whole_words
    from texts
),
matched as (
    select
        a.samples,
        list_has_all(t.whole_words, q.words) as with_categories,
        list_has_all(t.own_words, q.words) as without_categories
    from asked as a
    join query_words as q using (query_idx)
    join text_words as t using (item_idx)
)
select
    sum(samples)::bigint as search_samples,
    sum(samples * with_categories::integer) / sum(samples) as with_categories,
    sum(samples * without_categories::integer) / sum(samples) as without_categories,
    sum(samples * (with_categories and not without_categories)::integer) / sum(samples) as only_by_categories
from matched
