"""Writes a batch until somebody kills the process. Arguments: the folder of a bundle, and ``recommend.output``."""

from __future__ import annotations

import sys
from pathlib import Path

from answer_batches import Made

if __name__ == "__main__":
    Made(Path(sys.argv[1]), output=sys.argv[2], shard_size=1, top_n=4).write()
