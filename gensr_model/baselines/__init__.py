"""The baselines, on one input contract. How to add one: docs/how_to/add_a_baseline.md."""
