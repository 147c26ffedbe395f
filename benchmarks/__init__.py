"""One runnable module per claim of speed: ours against a stated alternative, same work, equal outputs asserted.

python -m benchmarks.<name>; the last line is one JSON object with `speedup`.
"""
