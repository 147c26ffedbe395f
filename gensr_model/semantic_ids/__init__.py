"""Semantic ids of items, as in TIGER (Rajput et al. 2023): vectors, residual quantization, and their files."""
