"""One trainer for every model: AdamW, linear decay with warm-up, clipping, early stopping, resumable checkpoints.

Everything random in step s depends only on (seed, s): the order of samples on the epoch, negatives and dropout on the
step. A killed and restarted run therefore repeats the uninterrupted run exactly on a CPU, and a checkpoint needs no
random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from gensr_model.config.base import TASKS, Task
from gensr_model.config.training import TrainConfig
from gensr_model.data.batches import BatchBuilder, Builder, NegativeSampler, order_by_length
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.errors import ConfigError, DivergedError
from gensr_model.models.base import LossParts, RankingModel
from gensr_model.models.dropout import use_fast_dropout
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import allow_bf16_attention, compile_blocks, default_device
from gensr_model.runtime.distributed import end_group_at_exit
from gensr_model.runtime.progress import NullReport, Report
from gensr_model.training import checkpoint
from gensr_model.training.checkpoint import Progress

_CURVE_POINTS = 200


class TrainingData:
    """Training positives and their negatives, batch by batch.

    Args:
        builder: makes the batches; a ``BatchBuilder`` with ``max_history`` where none is given.
        tasks: the tasks whose samples are trained. Negatives exclude the items that the user met in either task.
        min_history: training leaves out recommendation samples with fewer events, as the builder counts them.
        by_length: batches hold histories of similar lengths (``order_by_length``); otherwise rows are drawn at random.
        shard: (r, R): of every batch only the r-th of R parts, in the batch's order, for one of R processes.
    Raises:
        ConfigError: no sample is left, or the last batch of an epoch has fewer samples than there are parts.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        config: TrainConfig,
        max_history: int,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        builder: Builder | None = None,
        tasks: Sequence[Task] = TASKS,
        by_length: bool = True,
        min_history: int = 0,
    ) -> None:
        every = dataset.samples("train")
        self.negatives = NegativeSampler(dataset, every)
        self.builder: Builder = builder or BatchBuilder(dataset, max_history)
        wanted = np.isin(every.task, [TASKS.index(task) for task in tasks])
        wanted &= (every.task == 1) | (self.builder.lengths(every) >= min_history)
        self.samples = every.take(wanted)
        self.config, self.seed, self.shard = config, seed, shard
        self._lengths = self.builder.lengths(self.samples) if by_length else None
        if not len(self.samples):
            raise ConfigError(
                f"no {' or '.join(tasks)} sample has {min_history} events before it, so there is none to "
                "train on. Lower min_history, or use more data."
            )
        last = len(self.samples) % config.batch_size or config.batch_size
        if last < shard[1]:
            raise ConfigError(
                f"train.batch_size {config.batch_size} leaves {last} samples for the last batch of an "
                f"epoch, fewer than the {shard[1]} processes that share it. Choose another batch size "
                "or fewer processes."
            )
        self._order = (-1, np.empty(0, np.int64))

    @property
    def batches_per_epoch(self) -> int:
        return math.ceil(len(self.samples) / self.config.batch_size)

    def epoch_order(self, epoch: int) -> IntArray:
        """(N,) every sample once, in the order of the epoch's batches. It depends on the seed and the epoch."""
        rng = np.random.default_rng([self.seed, 2, epoch])
        if self._lengths is None:
            return rng.permutation(len(self.samples))
        return order_by_length(self._lengths, self.config.batch_size, rng)

    def batch(self, number: int) -> tuple[Samples, Any]:
        """This shard of micro-batch ``number``, counted over all epochs, with the positive in column 0 and new
        negatives.
        """
        epoch, place = divmod(number, self.batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.epoch_order(epoch))
        rows = self._order[1][place * self.config.batch_size : (place + 1) * self.config.batch_size]
        return self._build(rows, np.random.default_rng([self.seed, 3, number]), self.shard)

    def random_batch(self, number: int) -> Any:
        """A batch of rows of all lengths, for measurements, whole in each process. It depends on the seed and
        ``number``.
        """
        rng = np.random.default_rng([self.seed, 5, number])
        return self._build(rng.permutation(len(self.samples))[: self.config.batch_size], rng, (0, 1))[1]

    def _build(self, rows: IntArray, rng: np.random.Generator, shard: tuple[int, int]) -> tuple[Samples, Any]:
        samples = self.samples.take(rows)
        negatives = self.negatives.draw(samples.user, self.config.negatives, rng)
        part = np.array_split(np.arange(len(samples)), shard[1])[shard[0]]
        samples, lists = samples.take(part), np.concatenate([samples.item[:, None], negatives], axis=1)[part]
        return samples, self.builder.build(samples, lists)


def make_optimizer(parameters: list[torch.nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over parameters of one device."""
    # Fused: one pass over the weights and their states instead of ten.
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def make_accelerator(precision: Literal["auto", "no", "bf16"] = "auto") -> Accelerator:
    """The Accelerator for the devices and processes of ``accelerate launch`` or the machine, in the given precision.

    Raises:
        ConfigError: an Accelerator of another precision is in use in this process, or the device cannot do bf16.
    """
    # An ablation, or a batch without a task, leaves parameters out of the loss. Buffers hold texts and never change.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    # The others wait while the first process validates.
    waiting = InitProcessGroupKwargs(timeout=timedelta(days=1))
    if precision == "auto":
        on_gpu = default_device().type == "cuda"
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if precision == "bf16":
        allow_bf16_attention()
    end_group_at_exit()
    try:
        return Accelerator(mixed_precision=precision, kwargs_handlers=[parallel, waiting])
    except ValueError as error:
        raise ConfigError(
            f"train.precision {precision!r} is not possible in this process: {error}. Set train.precision "
            "to auto, or start a new process."
        ) from error


class Loss(nn.Module):
    """The loss as a forward pass, because Accelerate wraps only forward passes."""

    def __init__(self, model: RankingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> LossParts:
        return self.model.loss(batch)


class FitResult(NamedTuple):
    """How training ended. The model holds the best weights."""

    best_metric: float
    steps: int
    epochs: float
    stopped: str
    seconds: float
    resumed_at: int
    validations: list[dict[str, float]]  # "step", "metric" and the metrics of each validation, for the curves
    curve: list[dict[str, float]]  # loss, its parts, gradient norm and learning rate along training: ``on_curve``

    def repeatable(self) -> dict[str, Any]:
        """The results that repeat exactly, so that a file with them has the same bytes.

        Durations are metrics instead.
        """
        return {name: value for name, value in self._asdict().items() if name not in {"seconds", "resumed_at"}}


def on_curve(curve: list[dict[str, float]], values: dict[str, float], step: int, total: int) -> list[dict[str, float]]:
    """A copy of the curve with the values of one more step, counted from 1.

    The ``total`` steps give at most ``_CURVE_POINTS`` points of equal width. Each point has its last "step", its number
    of "steps", and the mean of every value over them. Points depend only on the steps, so a resumed run repeats them.
    """
    width = math.ceil(total / _CURVE_POINTS)
    if not curve or curve[-1]["steps"] >= width:
        return [*curve, {"step": float(step), "steps": 1.0, **values}]
    *done, last = curve
    n = last["steps"]
    means = {name: (n * last[name] + value) / (n + 1) for name, value in values.items()}
    return [*done, {"step": float(step), "steps": n + 1, **means}]


def learning_rate_factor(step: int, total: int, warmup_share: float) -> float:
    """The factor rises linearly over the warm-up, then falls linearly to 0 at ``total``."""
    warmup = max(1, round(total * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


@deterministic()
def fit(
    model: RankingModel,
    data: TrainingData,
    config: TrainConfig,
    *,
    seed: int,
    epochs: int,
    folder: Path,
    validate: Callable[[], dict[str, float]],
    report: Report,
    probe: Callable[[int], None] | None = None,
    accelerator: Accelerator | None = None,
    keep: Literal["best", "last"] = "best",
) -> FitResult:
    """Train until the epochs or the patience end, then load the best weights.

    Several processes (``accelerate launch``) share every batch and repeat the curve of one process, up to rounding and
    dropout. The first process validates, writes and reports.

    Args:
        folder: the folder of checkpoints; training resumes from the last one.
        validate: metrics of the current weights; ``metric`` decides, larger is better.
        probe: called before every step with its number, for measurements that must not change training.
        keep: ``last`` trains all epochs without validation, and the result is the last weights.
    Raises:
        DivergedError: a loss or its gradient is not finite. The message names the step and its sample ids. The model's
            weights are then useless; the last checkpoint is from before the step.
    """
    accelerator = accelerator or make_accelerator()
    model.to(accelerator.device)
    use_fast_dropout(model)
    compile_blocks(model, config.compile)
    if not accelerator.is_main_process:
        report, probe = NullReport(), None
    begun = time.monotonic()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(parameters, config)
    steps_per_epoch = math.ceil(data.batches_per_epoch / config.accumulation)
    total = steps_per_epoch * epochs
    interval = max(1, steps_per_epoch // config.validations_per_epoch)
    progress = checkpoint.restore(folder, model, optimizer) or Progress()
    loss, optimizer = accelerator.prepare(Loss(model), optimizer)
    save = checkpoint.save if accelerator.is_main_process else _nothing
    resumed_at = progress.step
    window: list[dict[str, float]] = []
    since = time.monotonic()
    stopped = "all epochs done"
    while progress.step < total:
        if progress.bad_validations >= config.patience:
            stopped = f"no better validation {progress.bad_validations} times in a row"
            break
        step = progress.step
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, total, config.warmup_share)
        window.append(train_step(loss, optimizer, parameters, data, config, seed, step, accelerator, probe))
        values = window[-1] | {"learning_rate": optimizer.param_groups[0]["lr"]}
        progress = progress._replace(step=step + 1, curve=on_curve(progress.curve, values, step + 1, total))
        if progress.step % 20 == 0:
            rows = len(window) * config.batch_size * config.accumulation * (1 + config.negatives)
            values = {name: float(np.mean([w[name] for w in window])) for name in window[0]}
            values["rows_per_second"] = rows / max(1e-9, time.monotonic() - since)
            values["samples_per_second"] = values["rows_per_second"] / (1 + config.negatives)
            values["learning_rate"] = optimizer.param_groups[0]["lr"]
            report.metrics({f"train/{name}": value for name, value in values.items()}, progress.step)
            report.progress(progress.step, total, f"training, loss {values['loss']:.4f}")
            window, since = [], time.monotonic()
        if keep == "best" and (progress.step % interval == 0 or progress.step == total):
            progress = _validate(model, progress, validate, folder, report, accelerator)
            save(folder, model, optimizer, progress)
            window, since = [], time.monotonic()
        elif progress.step % config.checkpoint_every == 0 or progress.step == total:
            save(folder, model, optimizer, progress)
    if keep == "best" and progress.best_metric == -math.inf:
        progress = _validate(model, progress, validate, folder, report, accelerator)
    accelerator.wait_for_everyone()
    if keep == "best":
        checkpoint.load_best(folder, model)
    report.progress(total, total, f"training, {stopped}")
    return FitResult(
        progress.best_metric,
        progress.step,
        progress.step / steps_per_epoch,
        stopped,
        time.monotonic() - begun,
        resumed_at,
        progress.validations,
        progress.curve,
    )


def _nothing(*_: object) -> None:
    """Save no checkpoint: another process does."""


def train_step(
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    data: TrainingData,
    config: TrainConfig,
    seed: int,
    step: int,
    accelerator: Accelerator,
    probe: Callable[[int], None] | None,
) -> dict[str, float]:
    """One optimizer step over ``accumulation`` micro-batches. Returns mean loss parts and the gradient norm."""
    optimizer.zero_grad(set_to_none=True)
    logged: list[dict[str, Tensor]] = []
    ids: list[list[str]] = []  # sample ids of each micro-batch
    epoch, place = divmod(step, math.ceil(data.batches_per_epoch / config.accumulation))
    first = epoch * data.batches_per_epoch + place * config.accumulation
    numbers = range(first, min(first + config.accumulation, (epoch + 1) * data.batches_per_epoch))
    for number in numbers:
        samples, batch = data.batch(number)
        batch = batch.to(accelerator.device)
        rank = [accelerator.process_index] if accelerator.process_index else []
        words = np.random.SeedSequence([seed, 4, number, *rank]).generate_state(1, np.uint64)
        dropout_seed = words[0].item() >> 1
        if probe is not None and number == first:
            torch.manual_seed(dropout_seed)  # random numbers of the probe repeat after a kill too
            probe(step)
        torch.manual_seed(dropout_seed)
        # Processes exchange gradients once, with the last micro-batch.
        with nullcontext() if number == numbers[-1] else accelerator.no_sync(loss):
            parts = loss(batch)
            accelerator.backward(parts.total / len(numbers))
        ids.append(samples.sample_id.tolist())
        logged.append({"loss": parts.total.detach(), **parts.parts})
    norm = accelerator.clip_grad_norm_(parameters, config.clip_norm)
    optimizer.step()
    # All values of a step are read here at once: the GPU idles after each read until it has work again.
    checked = torch.stack([*(entry["loss"] for entry in logged), norm])
    means = torch.stack([torch.stack([entry[name] for entry in logged]).mean() for name in logged[0]])
    read = torch.cat([checked, accelerator.reduce(means, "mean")]).tolist()
    for value, sample_ids in zip(read, ids, strict=False):
        _check_finite("loss", value, step, sample_ids)
    gradient_norm = read[len(ids)]
    _check_finite("gradient", gradient_norm, step, list(chain(*ids)))
    return {**dict(zip(logged[0], read[len(ids) + 1 :], strict=True)), "gradient_norm": gradient_norm}


def _check_finite(what: str, value: float, step: int, sample_ids: list[str]) -> None:
    if not math.isfinite(value):
        raise DivergedError(
            f"the {what} of step {step} is {value}; its samples: "
            f"{', '.join(sample_ids[:10])}{' …' if len(sample_ids) > 10 else ''}. Lower the learning "
            "rate, or look at these samples."
        )


def _validate(
    model: nn.Module,
    progress: Progress,
    validate: Callable[[], dict[str, float]],
    folder: Path,
    report: Report,
    accelerator: Accelerator,
) -> Progress:
    model.eval()
    metrics = broadcast_object_list([validate() if accelerator.is_main_process else None])[0]
    report.metrics({f"valid/{name}": value for name, value in metrics.items()}, progress.step)
    progress = progress._replace(validations=[*progress.validations, {"step": float(progress.step), **metrics}])
    if metrics["metric"] > progress.best_metric:
        if accelerator.is_main_process:
            checkpoint.save_best(folder, model)
        return progress._replace(best_metric=metrics["metric"], bad_validations=0)
    return progress._replace(bad_validations=progress.bad_validations + 1)
