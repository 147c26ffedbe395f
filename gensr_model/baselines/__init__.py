"""The baselines, on one input contract. How to add one: docs/concepts/baselines.md."""
