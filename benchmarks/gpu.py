"""flan-t5-base's shape on one GPU: training and scoring in bf16, as shares of the card's peak.

python -m benchmarks.gpu [--shape paper] [--prompt 64] [--samples 256] [--users 64] [--steps 10] [--plain]

The benchmark also shows where the time goes. It needs only ``gensr_model``: weights, texts, histories and prompts are
random. A sample is one row of a user and a candidate. FLOPs are those of the model's matrix products, counted by torch,
backward included.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from benchmarks.drawn import HISTORY, DrawnData, drawn_data, drawn_model, flops, lists
from benchmarks.sides import arguments
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.prepared import PreparedDataset, Samples
from gensr_model.models.gensr import GenSR
from gensr_model.runtime.devices import allow_bf16_attention, compile_blocks, default_device
from gensr_model.training.trainer import Loss, TrainingData, make_accelerator, make_optimizer, train_step

NEGATIVES, CANDIDATES, WARM = 4, 100, 3
DATASHEET = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 FLOP/s of the SXM cards, by their vendor
KINDS = {
    "attention": ("fmha", "flash", "attention", "efficient"),  # first: some of these are cutlass's, too
    "matrix products": ("gemm", "cutlass", "nvjet", "xmma", "matmul"),
    "optimizer": ("adam", "multi_tensor", "foreach"),
    "lookup and pooling of texts": ("embedding", "index", "gather", "scatter", "sort", "radix"),
}  # by parts of kernel names
REST = "element by element"  # norms, gates, dropout, casts


class Card(NamedTuple):
    """The device and its peak operations per second."""

    name: str  # empty: a CPU
    datasheet: float | None  # FLOP/s
    matmul: float  # FLOP/s of one large bf16 product of random numbers, today

    def result(self, what: str, rows: int, work: float, seconds: float, **more: Any) -> None:
        """Print one line of the result."""
        per_s = work / seconds
        line = {
            "what": what, "samples_per_s": round(rows / seconds), "ms": round(seconds * 1e3, 2),
            "tflop_per_s": round(per_s / 1e12, 1),
            "share_of_datasheet_peak": round(per_s / self.datasheet, 3) if self.datasheet else None,
            "share_of_measured_matmul": round(per_s / self.matmul, 3),
            "peak_memory_gb": round(peak_memory_gb(), 1), **more,
        }  # fmt: skip
        print(json.dumps(line), flush=True)


class Drawn:
    """Random batches in the form that training asks for."""

    batches_per_epoch = 10**6

    def __init__(self, data: DrawnData, samples: int) -> None:
        self.data, self.samples = data, samples
        self.builder = BatchBuilder(cast(PreparedDataset, data), HISTORY)

    def batch(self, number: int) -> tuple[Samples, Batch]:
        """Micro-batch ``number``, always the same for the same number."""
        rng = np.random.default_rng(number)
        chosen = self.data.every.take(rng.integers(len(self.data.every), size=self.samples))
        return chosen, self.builder.build(chosen, lists(self.data, chosen, NEGATIVES, rng))


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reset() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gb() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def seconds_per(work: Callable[[int], Any], steps: int) -> float:
    """Median seconds of a step, after warm-up, with waits for the device."""
    times = []
    for number in range(WARM + steps):
        wait()
        begun = time.perf_counter()
        work(number)
        wait()
        times.append(time.perf_counter() - begun)
    return float(np.median(times[WARM:]))


def this_card(size: int) -> Card:
    """The device with its peaks; ``size`` of the square matrices."""
    name = torch.cuda.get_device_name() if default_device().type == "cuda" else ""
    a = torch.randn(size, size, device=default_device(), dtype=torch.bfloat16)
    b = torch.randn_like(a)
    speed = 2 * size**3 / seconds_per(lambda _: a @ b, 10)
    return Card(name, next((flop for card, flop in DATASHEET.items() if card in name), None), speed)


def by_kind(times: Iterable[tuple[str, float]], kinds: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Sums of named times by the first kind that is part of the name, largest first.

    Times without a kind count as ``REST``.
    """
    total: dict[str, float] = defaultdict(float)
    for name, time_of_it in times:
        kind = next((k for k, parts in kinds.items() if any(part in name.lower() for part in parts)), REST)
        total[kind] += time_of_it
    return dict(sorted(total.items(), key=lambda row: -row[1]))


def time_of_kernels(what: str, work: Callable[[int], Any], steps: int = 3) -> None:
    """Print the share of the GPU's time by kind of kernel, and its idle time."""
    wait()
    begun = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for number in range(steps):
            work(number)
        wait()
    wall = (time.perf_counter() - begun) * 1e6
    total = by_kind([(event.key, event.self_device_time_total) for event in profiled.key_averages()], KINDS)
    busy = sum(total.values())
    rows = [
        {"kind": kind, "share": round(us / busy, 3), "ms_per_step": round(us / steps / 1e3, 2)}
        for kind, us in total.items()
    ]
    print(json.dumps({"where": what, "kernels": rows, "idle_while_profiled": round(max(0.0, 1 - busy / wall), 3)}))


def how(compiled: bool) -> str:
    return "compiled" if compiled else "as it is"


def train(given: argparse.Namespace, data: DrawnData, card: Card, samples: int, compiled: bool) -> None:
    """Time steps of the trainer: batch, forward, backward, clipping, AdamW."""
    reset()
    accelerator = make_accelerator("auto" if card.name else "no")
    model, few = drawn_model(given.shape, given.prompt).to(accelerator.device).train(), Drawn(data, 8)
    work = flops(lambda: model.loss(few.batch(0)[1].to(accelerator.device)).total.backward()) / few.samples
    model.zero_grad(set_to_none=True)
    if compiled:
        compile_blocks(model, "yes")
    parameters = [p for p in model.parameters() if p.requires_grad]
    batches, config = Drawn(data, samples), TrainConfig(batch_size=samples, negatives=NEGATIVES)
    loss, optimizer = accelerator.prepare(Loss(model), make_optimizer(parameters, config))

    def step(number: int) -> None:
        drawn = cast(TrainingData, batches)
        train_step(loss, optimizer, parameters, drawn, config, 0, number, accelerator, None)

    begun = time.perf_counter()
    step(0)
    first = time.perf_counter() - begun
    taken, built = seconds_per(step, given.steps), seconds_per(batches.batch, given.steps)
    what = f"training, {samples} × {1 + NEGATIVES} rows, {how(compiled)}"
    more = {"first_step_s": round(first, 1), "batch_ms": round(built * 1e3, 2)}
    card.result(what, samples * (1 + NEGATIVES), work * samples, taken, **more)
    if card.name:
        time_of_kernels(what, step)


def score(given: argparse.Namespace, data: DrawnData, card: Card, users: int, compiled: bool) -> None:
    """Time calls of ``score`` in bf16, and compare the scores with fp32."""
    reset()
    allow_bf16_attention()
    device, rng = default_device(), np.random.default_rng(0)
    model: GenSR = drawn_model(given.shape, given.prompt).to(device).eval()
    builder = BatchBuilder(cast(PreparedDataset, data), HISTORY)

    def batch(count: int) -> Batch:
        chosen = data.every.take(rng.integers(len(data.every), size=count))
        return builder.build(chosen, lists(data, chosen, CANDIDATES - 1, rng)).to(device)

    few, every = batch(4), batch(users)
    work = flops(lambda: model.score(few)) / 4
    with torch.inference_mode():
        exact = model.score(every)
        if compiled:
            compile_blocks(model, "yes")
        with torch.autocast(device.type, torch.bfloat16):
            reset()
            more = {"largest_difference": round(float((model.score(every) - exact).abs().max()), 4)}
            taken = seconds_per(lambda _: model.score(every), given.steps)
            what = f"scoring, {users} × {CANDIDATES} rows, bf16, {how(compiled)}"
            card.result(what, users * CANDIDATES, work * users, taken, **more)
            if card.name:
                time_of_kernels(what, lambda _: model.score(every))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--shape", default="paper", choices=["paper", "small"])
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--samples", type=int, nargs="+", default=[256])
    parser.add_argument("--users", type=int, nargs="*", default=[64], help="of a scored batch; none to leave it out")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--plain", action="store_true", help="without torch.compile, too")
    parser.add_argument("--matmul", type=int, default=8192)
    given = parser.parse_args()
    card, data = this_card(given.matmul), drawn_data()
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    about = {"shape": given.shape, "prompt": given.prompt, "transformers": transformers.__version__}
    print(json.dumps({**card._asdict(), **versions, **about}), flush=True)
    for compiled in (False, True) if given.plain else (True,):
        for samples in given.samples:
            train(given, data, card, samples, compiled)
        for users in given.users:
            score(given, data, card, users, compiled)


if __name__ == "__main__":
    main()
