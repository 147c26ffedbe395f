"""Every query of the pipeline as a package resource: one statement or one table per file (``tasks.duck`` reads them)."""
