"""Peak memory of a stage, of the process and of the GPU."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

import psutil

from gensr_model.runtime.malloc import PEAK_OF_PROCESS

_EVERY = 0.1  # seconds between two measurements


class PeakMemory:
    """Context manager that measures the highest memory during its block, in bytes.

    Attributes:
        process: resident memory of this process, measured every tenth of a second, with libraries and data.
        gpu: memory that torch allocated on the current GPU; 0 without a GPU.
    """

    def __init__(self) -> None:
        self.process = self.gpu = 0
        self._self = psutil.Process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        if gpu := _gpu():
            gpu.reset_peak_memory_stats()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()
        if gpu := _gpu():
            self.gpu = gpu.max_memory_allocated()

    def work_peak(self, metrics: dict[str, float]) -> tuple[int, int]:
        """Bytes of the process and of the GPU: of the block, or of the subprocess that did the work.

        A subprocess reports its peak as the metric ``PEAK_OF_PROCESS``: of the GPU where there is one, else of its
        resident memory. It reports nothing else.
        """
        if PEAK_OF_PROCESS not in metrics:
            return self.process, self.gpu
        peak = int(metrics[PEAK_OF_PROCESS] * 2**20)
        return (0, peak) if _gpu() else (peak, 0)

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        self.process = max(self.process, self._self.memory_info().rss)


def _gpu() -> Any:
    """``torch.cuda`` where this process uses it: a stage without torch does not import it for a look."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_available() else None
