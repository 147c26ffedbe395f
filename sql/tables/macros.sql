-- What several queries on blocks of rows use. A case evaluates its second branch for few rows alone.
create or replace temp macro is_nested(value) as -- an id that is a list or an object, as JSON or Python writes it
    case when starts_with(value, '[') or starts_with(value, '{') then json_valid(replace(value, '''', '"')) else false end;
create or replace temp macro document(line) as -- that of a line of elasticdump
    case
        when contains(line, '"_source"')
            then case when json_valid(line) then coalesce(nullif(json_extract(line, '$._source')::varchar, 'null'), line) else line end
        else line
    end;
