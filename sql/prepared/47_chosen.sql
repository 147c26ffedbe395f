create or replace table chosen (number bigint, item_idx integer, draw bigint)
