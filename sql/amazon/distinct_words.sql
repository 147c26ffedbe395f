select distinct word
from path_words
order by word
