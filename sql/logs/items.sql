-- One block of items (batch: text by role, line_no) -> items, or the reason for a reject. A category is a JSON list, a
-- list as Python writes it, or a text whose levels stand between >. So may the texts of a list, each a path.
with lists as (
    select
        *,
        case
            when category is null then null
            when left(category, 1) = '[' and json_valid(category) then category
            when left(category, 1) = '[' and json_valid(replace(category, '''', '"')) then replace(category, '''', '"')
            else to_json([string_split(category, '>')])::varchar
        end as category_list
    from batch
),
paths as (
    select
        *,
        case
            when category_list is null then null
            when json_type(category_list, '$[0]') = 'ARRAY' then try_cast(category_list::json as varchar[][])
            when contains(category_list, '>')
                then list_transform(try_cast(category_list::json as varchar[]), lambda path: string_split(path, '>'))
            else [try_cast(category_list::json as varchar[])]
        end as given_paths
    from lists
),
final as (
    select
        item,
        title,
        brand,
        description,
        list_filter(
            list_transform(
                given_paths,
                lambda path: list_filter(
                    list_transform(path, lambda level: trim(level)),
                    lambda level: level is not null and not list_contains($missing, level)
                )
            ),
            lambda path: len(path) > 0
        ) as category_paths,
        line_no as line,
        case
            when item is null then 'no ' || $item
            when is_nested(item) then $item || ' is a list or an object: one id is expected'
        end as reason,
        concat_ws(',', item, title) as excerpt
    from paths
)
select * from final order by line
