-- English function words. Category names hold few of them ("Health & Personal Care for Men and Women"), so the list is
-- short; forms such as "dont" stand without the apostrophe, which is dropped before words are compared.
create table stop_words as
select unnest([
    'a', 'about', 'above', 'across', 'after', 'again', 'against', 'all', 'along', 'also', 'although', 'am', 'among',
    'an', 'and', 'another', 'any', 'are', 'around', 'as', 'at', 'be', 'because', 'been', 'before', 'behind', 'being',
    'below', 'beneath', 'beside', 'between', 'beyond', 'both', 'but', 'by', 'can', 'cannot', 'could', 'did', 'do',
    'does', 'doing', 'done', 'dont', 'down', 'during', 'each', 'either', 'etc', 'ever', 'every', 'few', 'for', 'from',
    'further', 'had', 'has', 'have', 'having', 'he', 'her', 'here', 'hers', 'herself', 'him', 'himself', 'his', 'how',
    'however', 'i', 'if', 'in', 'into', 'is', 'isnt', 'it', 'its', 'itself', 'just', 'may', 'me', 'might', 'mine',
    'more', 'most', 'must', 'my', 'myself', 'near', 'neither', 'no', 'nor', 'not', 'of', 'off', 'on', 'once', 'only',
    'onto', 'or', 'other', 'others', 'our', 'ours', 'ourselves', 'out', 'over', 'own', 'per', 'same', 'shall', 'she',
    'should', 'since', 'so', 'some', 'such', 'than', 'that', 'the', 'their', 'theirs', 'them', 'themselves', 'then',
    'there', 'these', 'they', 'this', 'those', 'though', 'through', 'to', 'too', 'toward', 'under', 'until', 'up',
    'upon', 'us', 'very', 'via', 'was', 'we', 'were', 'what', 'when', 'where', 'whether', 'which', 'while', 'who',
    'whom', 'whose', 'why', 'will', 'with', 'within', 'without', 'would', 'yet', 'you', 'your', 'yours', 'yourself',
    'yourselves'
]) as word
