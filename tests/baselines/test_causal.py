"""A causal sequence model's state of an event knows nothing of later events."""

from __future__ import annotations

import pytest
import torch
from baseline_inputs import batch
from small_dataset import write_dataset
from test_every_model import trained
from torch import Tensor

from gensr_model.baselines.registry import BASELINES
from gensr_model.data.prepared import PreparedDataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("causal") / "prepared")


@pytest.mark.parametrize(
    ("name", "goes_in", "comes_out"),
    [("sasrec", "events", "encoder"), ("query_seqrec", "events", "encoder"), ("unified_ssr", "placed", "norm")],
)
def test_another_latest_event_moves_no_earlier_state(
    dataset: PreparedDataset, name: str, goes_in: str, comes_out: str
) -> None:
    system = BASELINES[name]
    model = trained(dataset, system)
    rows = batch(dataset, system.model, with_history=True)
    states: list[Tensor] = []
    model.get_submodule(comes_out).register_forward_hook(lambda _, __, out: states.append(out))

    def another_latest(_: object, __: object, out: Tensor) -> Tensor:
        noise = torch.randn(out[:, -1].shape, generator=torch.Generator().manual_seed(3))
        return torch.cat([out[:, :-1], (out[:, -1] + noise).unsqueeze(1)], dim=1)

    with torch.inference_mode():
        model.score(rows)
        model.get_submodule(goes_in).register_forward_hook(another_latest)
        model.score(rows)
    before, after = states[: len(states) // 2], states[len(states) // 2 :]
    assert len(before) == len(after) > 0
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[:, :-1], other[:, :-1])
        assert (one[:, -1] - other[:, -1]).abs().max() > 0.1
