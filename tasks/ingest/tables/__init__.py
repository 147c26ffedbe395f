"""Readers of tables whose columns are found by name: delimited text, JSON lines, Parquet."""
