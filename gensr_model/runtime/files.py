"""Atomic file writes: a reader never sees half a file, not even after a power failure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def write_json(path: Path, content: Any, sort_keys: bool = True) -> None:
    """Write JSON to a temporary name and rename it. After an OSError no file remains."""
    text = json.dumps(content, indent=1, sort_keys=sort_keys, ensure_ascii=False) + "\n"
    with _aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write safetensors to a temporary name and rename it. After an OSError no file remains."""
    from safetensors.torch import save_file  # torch: seconds

    with _aside(path) as aside:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside)
        except SafetensorError as error:  # also for a full disk
            raise OSError(f"{path}: {error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a temporary name and rename it. After an OSError no file remains."""
    with _aside(path) as aside:
        aside.write_bytes(content)


def write_table(path: Path, table: pa.Table) -> None:
    """Write Parquet to a temporary name and rename it. After an OSError no file remains."""
    with _aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield aside
        with aside.open("rb") as written:
            os.fsync(written)  # or the new name may reach the disk before the content does
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict


def module_tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name. A shared tensor appears once, under the first of its names."""
    persistent = set(module.state_dict(keep_vars=True))
    buffers = {name: buffer for name, buffer in module.named_buffers() if name in persistent}
    return {**dict(module.named_parameters()), **buffers}


def load_module_tensors(module: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy the result of ``module_tensors`` into a module of the same shape. Raises ValueError where names differ."""
    import torch  # seconds

    own = module_tensors(module)
    if own.keys() != tensors.keys():
        raise ValueError(
            f"tensors do not fit the model: {sorted(own.keys() ^ tensors.keys())[:5]} differ. Load a file "
            "that the same version of the model wrote."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
