-- A path's query: its words, each once, at the place of its LAST occurrence ("Kindle Store, Kindle eBooks" gives
-- "store kindle ebooks"). The table stems is empty unless the config asks for stemming. A path of stop words alone
-- leaves no row.
create table path_queries as
with stemmed as (
    select path, coalesce(stem, word) as word, max(position) as position
    from path_words
    left join stems using (word)
    group by all
)
select path, string_agg(word, ' ' order by position) as query
from stemmed
group by path
