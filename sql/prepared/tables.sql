-- The tables that the steps so far have made.
select table_name from duckdb_tables()
