"""The device of models, their peak memory, and whether their blocks are compiled."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch
from torch import nn

from gensr_model.config.training import Compile
from gensr_model.runtime.malloc import PEAK_OF_PROCESS

_WIDE = 512  # width of a backbone; below, a GPU waits for Python between kernels, not for memory
# PyTorch's own dropout takes less of a GPU's time than Inductor's, with eager's numbers (docs/results/speed_gensr.md).
_OPTIONS = {"fallback_random": True}


def default_device() -> torch.device:
    """The first CUDA device, or the CPU where there is none or where ``ACCELERATE_USE_CPU`` asks for the CPU."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    return torch.device("cuda" if torch.cuda.is_available() and not on_cpu else "cpu")


def peak_of_this_process() -> dict[str, float]:
    """``PEAK_OF_PROCESS``: MiB of the GPU where there is one, else of the process, with Python and torch."""
    if torch.cuda.is_available():
        return {PEAK_OF_PROCESS: torch.cuda.max_memory_allocated() / 2**20}
    try:  # Linux: getrusage would give the parent's peak where that is higher
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return {PEAK_OF_PROCESS: float(status.split("VmHWM:")[1].split()[0]) / 2**10}
    except (OSError, IndexError):
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return {PEAK_OF_PROCESS: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def allow_bf16_attention() -> None:
    """Let attention without a fused kernel, such as the decoder's single query, add up in bf16 under autocast."""
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)


def compile_blocks(model: nn.Module, wanted: Compile) -> bool:
    """Compile the blocks of a model's T5 in place, where ``wanted`` or the hardware asks for it. True where it did.

    All blocks of a stack share one compiled program, and parameters keep their names.
    """
    backbone = getattr(model, "backbone", None)
    if backbone is None or wanted == "no":
        return False
    if wanted == "auto" and (default_device().type == "cpu" or backbone.model_dim < _WIDE):
        return False
    import torch._dynamo  # seconds

    # One function has a program for each of: first block or others, either stack, training or validation.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    for stack in (backbone.encoder, backbone.decoder):
        for block in stack.block:
            block.compile(options=_OPTIONS)
    return True
