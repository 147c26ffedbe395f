"""Checkpoints: whole or not at all, and one sentence where the disk says no."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gensr_model.errors import TrainingError
from gensr_model.runtime.files import write_tensors
from gensr_model.training import checkpoint
from gensr_model.training.checkpoint import Progress


def trained_a_step() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = trained_a_step()
    checkpoint.save(tmp_path, model, optimizer, Progress(step=1))
    weight = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", full)
        with pytest.raises(TrainingError, match=r"step 2 .*No space left.*last good checkpoint"):
            checkpoint.save(tmp_path, model, optimizer, Progress(step=2))
    assert [path.name for path in tmp_path.iterdir()] == ["last"], "half a checkpoint keeps no space"
    other = torch.nn.Linear(3, 2)
    fresh = torch.optim.AdamW(other.parameters())
    result = checkpoint.restore(tmp_path, other, fresh)
    assert result is not None
    assert result.step == 1
    assert torch.equal(other.weight, weight)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A file in the way stops every user, root too; tensors and folders fail with different errors inside."""
    model, optimizer = trained_a_step()
    (tmp_path / "steps").write_text("", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"the checkpoint of step 2 cannot be written to .*steps"):
        checkpoint.save(tmp_path / "steps", model, optimizer, Progress(step=2))
    (tmp_path / "best.safetensors" / "in the way").mkdir(parents=True)
    with pytest.raises(TrainingError, match="the best weights so far cannot be written"):
        checkpoint.save_best(tmp_path, model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "steps"]
    with pytest.raises(OSError, match=r"gone/x\.safetensors: .*No such file"):
        write_tensors(tmp_path / "gone" / "x.safetensors", {"a": torch.ones(2)})


def test_a_kill_between_the_renames_costs_nothing(tmp_path: Path) -> None:
    model, optimizer = trained_a_step()
    checkpoint.save(tmp_path, model, optimizer, Progress(step=5))
    (tmp_path / "last").rename(tmp_path / "last.old")
    (tmp_path / "last.tmp-1").mkdir()
    other = torch.nn.Linear(3, 2)
    fresh = torch.optim.AdamW(other.parameters())
    result = checkpoint.restore(tmp_path, other, fresh)
    assert result is not None
    assert result.step == 5
    before, after = optimizer.state_dict()["state"][0], fresh.state_dict()["state"][0]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert checkpoint.restore(tmp_path / "nothing", other, fresh) is None
