"""The generated shop of ``examples/shop``: what is committed is what the script writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_shop_is_what_the_script_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gensr_model.data.synthetic.shop_writer", str(tmp_path / "new")]
    subprocess.run(command, check=True, cwd=ROOT)
    written = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in written] == ["events.csv", "items.csv"]
    for path in written:
        assert path.read_bytes() == (ROOT / "examples" / "shop" / path.name).read_bytes(), path.name
