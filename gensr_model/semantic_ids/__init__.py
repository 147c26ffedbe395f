"""Semantic ids of items, as TIGER has them (Rajput et al. 2023): vectors, residual quantization, and their files."""
