"""The class that the page on adding a baseline prints: found by its name, it learns and ranks the catalogue."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from baseline_inputs import batch, collator
from small_dataset import write_dataset

from gensr_model.baselines.base import CatalogueBaseline
from tasks.compare.names import find_baseline

PAGE = Path(__file__).resolve().parents[2] / "docs/how_to/add_a_baseline.md"


def test_the_printed_baseline_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    model_class = find_baseline("my_package.mine:Mine").model
    for name in ("my_package", "my_package.mine"):
        monkeypatch.delitem(sys.modules, name)
    dataset = write_dataset(tmp_path / "prepared")
    torch.manual_seed(0)
    model, given = model_class(collator(dataset, model_class).domain), batch(dataset, model_class, with_history=True)
    assert isinstance(model, CatalogueBaseline)
    before, optimizer = model.loss(given).total.item(), torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(50):
        optimizer.zero_grad()
        model.loss(given).total.backward()
        optimizer.step()
    assert model.loss(given).total.item() < before / 2
    assert (model.score(given).argmax(dim=1) == 0).float().mean() > 0.5  # the positive, of five
    assert model.catalogue_scores(given).shape == (len(given.task), dataset.n_items)
