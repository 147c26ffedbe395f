"""Dropout that draws four decisions per random word. On a CPU the drawing is most of ``nn.Dropout``'s cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STEPS = 2**16  # a probability is a multiple of 1 / _STEPS


class Dropout(nn.Dropout):
    """``nn.Dropout``, with its probability rounded to 16 bits where the input is on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape → the same shape."""
        dropped = round(self.p * _STEPS)
        if not self.training or dropped in (0, _STEPS) or input.device.type != "cpu":
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.int16)[: input.numel()].view(input.shape) >= dropped - _STEPS // 2
        return input * keep.to(input.dtype).mul_(_STEPS / (_STEPS - dropped))


def use_fast_dropout(model: nn.Module) -> None:
    """Replace every ``nn.Dropout`` of a model, in place. Calls of the function ``dropout`` stay as they are."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
