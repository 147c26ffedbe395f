select
    (select count(distinct "user") from interactions) as users,
    (select count(*) from item_counts) as items,
    (select count(*) from interactions) as interactions
