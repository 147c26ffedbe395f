"""The report of a run as one page, from plain data: nothing here trains, reads the store or knows of MLflow."""
