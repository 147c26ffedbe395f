"""The baselines, on one input contract. docs/how_to/add_a_baseline.md says how to add one."""
