"""The report of a run as one page, from plain data.

Nothing here trains, reads the store or knows MLflow.
"""
