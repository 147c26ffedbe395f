"""Commands that measure, started by hand: ``python -m benchmarks.<name>``.

- Speed: our code against a stated alternative that does the same work; equal outputs are asserted. The last line of a
  comparison is one JSON object with `speedup`.
- Strength: losses, published, references and peers train or rank systems; controls has two for ``rerank.systems``.
- Saved ranks and tables: save_ranks, diagnose and arithmetic train nothing.
- Estimators: mutual_information, where the truth is known.

common, drawn, pandas_prepare, plain, shapes and sides are parts of other benchmarks.
"""
