"""Every query of the pipeline as a package resource, one table per file; ``tasks.duck`` reads them."""
