"""Every query of the pipeline as a package resource, one table per file; ``tasks.core.sql_runner`` reads them."""
