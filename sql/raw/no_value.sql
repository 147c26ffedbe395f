-- Texts that programs write for a missing value.
create or replace temp macro no_value(value) as
    lower(coalesce(trim(value), '')) in ('', 'nan', 'nat', 'none', 'null', '\n', '<na>')
