"""Readers of tables with columns by name: delimited text, JSON lines, Parquet."""
