-- One block of item_features.csv (batch: all columns as text, line_no) -> items, or the reason for a reject.
-- A caption "[1, 213]" becomes "w1 w213"; English category names in level order, missing ones dropped.
with markers as (
    select ['空', 'empty', 'unknown'] as markers
),
rows as (
    select
        line_no,
        markers,
        regexp_replace(trim(item_id), '\.0$', '') as item,
        case when not (no_value(caption) or list_contains(markers, lower(trim(caption)))) then trim(caption) end as caption,
        regexp_replace(trim(author_id), '\.0$', '') as author,
        [
            trim(first_level_category_name_en),
            trim(second_level_category_name_en),
            trim(third_level_category_name_en),
            trim(fourth_level_category_name_en)
        ] as names
    from batch
    cross join markers
),
final as (
    select
        item,
        nullif(
            array_to_string(list_transform(regexp_extract_all(caption, '\d+'), lambda word: 'w' || word), ' '), ''
        ) as title,
        list_filter(
            names, lambda name: not (no_value(name) or list_contains(markers, lower(name)))
        ) as category_names,
        case when author <> '0' and not (no_value(author) or list_contains(markers, lower(author))) then author end
            as author,
        line_no as line,
        case
            when no_value(item) then 'no item_id'
            when not regexp_full_match(caption, '\[\s*(\d+\s*(,\s*\d+\s*)*)?\]')
                then 'caption is not a list of word ids'
        end as reason,
        concat_ws(',', item, author, caption) as excerpt
    from rows
)
select * from final order by line
