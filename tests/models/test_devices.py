"""Where models run, in which precision, and in how many calls of the backbone."""

import numpy as np
import pytest
import torch
from test_gensr import batch, make

from gensr_model.models import gensr
from gensr_model.runtime import devices


def compiled_blocks(model: torch.nn.Module) -> list[bool]:
    stacks = (model.backbone.encoder, model.backbone.decoder)
    return [block._compiled_call_impl is not None for stack in stacks for block in stack.block]


def test_on_a_cpu_blocks_are_compiled_on_request_only() -> None:
    model = make()
    names = list(model.state_dict())
    assert not devices.compile_blocks(model, "auto")
    assert not devices.compile_blocks(model, "no")
    assert not any(compiled_blocks(model))
    assert devices.compile_blocks(model, "yes")
    assert all(compiled_blocks(model))
    assert list(model.state_dict()) == names  # checkpoints know nothing of it


@pytest.mark.slow
def test_compiled_blocks_give_the_same_loss_and_gradients() -> None:
    plain, compiled = make(), make()
    for module in (*plain.backbone.modules(), *compiled.backbone.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    devices.compile_blocks(compiled, "yes")
    losses = []
    for model in (plain, compiled):
        model.train()
        torch.manual_seed(1)  # dropout included: both take its random numbers from PyTorch's own kernels
        loss = model.loss(batch()).total
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-3)


def test_auto_compiles_a_wide_backbone_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("cuda"))
    narrow, wide = make(), make()
    monkeypatch.setattr(wide.backbone, "model_dim", 512)
    assert not devices.compile_blocks(narrow, "auto")
    assert devices.compile_blocks(wide, "auto")


def test_accelerate_may_ask_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert devices.default_device().type == "cuda"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert devices.default_device().type == "cpu"


def test_tasks_in_one_call_score_as_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = make().eval(), batch()
    with torch.inference_mode():
        apart = model.score(whole)
        assert len(model.backbone_calls(whole)) == 2
        monkeypatch.setattr(gensr, "PADDING", {"cpu": 1.25})  # 10 and 8 tokens: 50 for 46
        assert len(model.backbone_calls(whole)) == 1
        torch.testing.assert_close(model.score(whole), apart, atol=1e-5, rtol=0)
        monkeypatch.setattr(gensr, "PADDING", {"cpu": 1.05})
        assert len(model.backbone_calls(whole)) == 2


def test_a_margin_under_bf16_is_near_and_does_not_tie() -> None:
    model, whole = make().eval(), batch(candidates=40)
    with torch.inference_mode():
        exact = model.score(whole)
        with torch.autocast("cpu", torch.bfloat16):
            near = model.score(whole)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, atol=0.05, rtol=0.05)
    assert not torch.equal(near, exact)
    distinct = len(np.unique(near.numpy()))
    assert distinct > len(torch.unique(near.bfloat16()))  # more than bf16 tells apart
