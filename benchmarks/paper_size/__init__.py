"""Generated data of the paper's sizes through every stage: seconds, peak memory, and how they grow.

``python -m benchmarks.paper_size`` has the options. ``stages`` runs in one process per part; ``lines`` and ``table``
import no PyTorch.
"""
