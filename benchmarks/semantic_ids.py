"""Quality of semantic ids: use of the codebooks and collisions by method and vectors.

python -m benchmarks.semantic_ids --source FOLDER --out FILE [--vectors tfidf cf] [--set '{"codes": 256}']

``--vectors`` takes values of ``semantic_ids.vectors``, such as the folder of a T5. ``--set`` changes other fields of
``semantic_ids``. Each line of FILE is one run of the stage; the command ends with the table.
"""

from __future__ import annotations

import json
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.common import prepared
from benchmarks.sides import arguments
from gensr_model.config.pipeline import PipelineConfig, with_changes
from gensr_model.data.prepared import PreparedDataset
from gensr_model.runtime.progress import NullReport
from gensr_model.training import lightgcn
from gensr_model.training.semantic_ids import REPORT, make_semantic_ids

_SHOWN = (
    "method",
    "vectors",
    "codes",
    "levels",
    "collisions",
    "nearest_collisions",
    "largest_bucket",
    "items_without_vector",
)
_METHODS = ("rq_vae", "residual_kmeans")


def measure(dataset: PreparedDataset, config: PipelineConfig, cf: Path) -> dict[str, Any]:
    """The report on codes with this config. ``cf`` is the folder of the LightGCN table."""
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as folder:
        out, steps = Path(folder) / "out", Path(folder) / "steps"
        out.mkdir()
        steps.mkdir()
        begun = time.process_time()
        make_semantic_ids(dataset, cf, config, steps, out, NullReport())
        cpu = time.process_time() - begun
        report: dict[str, Any] = json.loads((out / REPORT).read_text(encoding="utf-8"))
    return {name: report[name] for name in _SHOWN} | {"cpu_s": round(cpu)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--source", required=True, help="a folder of raw files, or generated")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each making of the codes")
    parser.add_argument("--vectors", nargs="+", default=["tfidf", "cf"])
    parser.add_argument("--methods", nargs="+", default=_METHODS, choices=_METHODS)
    parser.add_argument("--set", type=json.loads, default={}, help="other fields of semantic_ids, as JSON")
    given = parser.parse_args()
    source = None if given.source == "generated" else {"kind": "folder", "path": given.source}
    dataset, config = prepared(users=1_000, items=500, source=source)
    with tempfile.TemporaryDirectory(prefix="gensr-benchmark-") as cf:
        if "cf" in given.vectors:
            lightgcn.pretrain(dataset, config.lightgcn, config.seed, Path(cf), NullReport())
        for vectors, method in product(given.vectors, given.methods):
            wanted = given.set | {"vectors": vectors, "method": method}
            row = measure(dataset, with_changes(config, {"semantic_ids": wanted}), Path(cf))
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print("| method | vectors | codes | usage | perplexity | collisions, nearest codes | distinct codes "
          "| largest bucket | CPU s |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for row in map(json.loads, given.out.read_text(encoding="utf-8").splitlines()):
        usage, perplexity = (
            " ".join(f"{level[name]:.{digits}f}" for level in row["levels"])
            for name, digits in (("usage", 2), ("perplexity", 0))
        )
        print(f"| {row['method']} | {row['vectors']} | {row['codes']} | {usage} | {perplexity} | "
              f"{row['nearest_collisions']:.3f} | {row['collisions']:.3f} | {row['largest_bucket']} | "
              f"{row['cpu_s']} |")  # fmt: skip


if __name__ == "__main__":
    main()
