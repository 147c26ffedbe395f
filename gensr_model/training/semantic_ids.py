"""Make the semantic ids of a catalogue: vectors, RQ-VAE or residual k-means, and a report on the codes."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gensr_model.config.model import SemanticIdsConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import IntArray, PreparedDataset
from gensr_model.errors import DivergedError
from gensr_model.runtime.determinism import deterministic
from gensr_model.runtime.devices import default_device
from gensr_model.runtime.files import module_tensors, write_json, write_tensors
from gensr_model.runtime.progress import Report
from gensr_model.semantic_ids.codes import numbered, write_codes
from gensr_model.semantic_ids.k_means import residual_codes, residual_k_means
from gensr_model.semantic_ids.rq_vae import RqVae
from gensr_model.semantic_ids.statistics import collision_rate, metrics, statistics
from gensr_model.semantic_ids.vectors import item_vectors
from gensr_model.training import checkpoint
from gensr_model.training.checkpoint import Progress

REPORT = "report.json"
_CHECK_EVERY = 500  # steps between checks: restart dead codes, count codes, write a checkpoint
_CHOOSE_FROM = 0.5  # share of the steps before the first choice: codes are few until the latent vectors have moved


@deterministic()
def make_semantic_ids(
    dataset: PreparedDataset, cf: Path | None, config: PipelineConfig, checkpoints: Path, out: Path, report: Report
) -> dict[str, float]:
    """Write ``codes.parquet``, ``weights.safetensors`` and ``report.json``. A killed training resumes.

    Args:
        cf: the folder of the LightGCN table, where ``semantic_ids.vectors`` is ``cf``.
        checkpoints: a folder that survives a killed training.
    Raises:
        ConfigError, DataError: as ``item_vectors``, before training, and ``numbered``, after it.
        DivergedError: a loss is not finite.
    """
    settings, seed = config.semantic_ids, config.seed
    vectors, known = item_vectors(dataset, settings, config.model.text, cf, seed)
    vectors = vectors.to(default_device())
    curve: list[dict[str, float]] = []
    if settings.method == "rq_vae":
        model, curve = _rq_vae(vectors, settings, seed, checkpoints, report)
        with torch.no_grad():
            vectors, books, tensors = model.encoder(vectors), model.books.detach(), module_tensors(model)
    else:
        books = residual_k_means(vectors, settings.levels, settings.codes, np.random.default_rng([seed, 1]))
        tensors = {"books": books}
    codes = residual_codes(vectors, books, settings.distinct).cpu().numpy()
    nearest_collisions = collision_rate(residual_codes(vectors, books).cpu().numpy())
    content = statistics(codes, settings.codes, dataset.items["title"].to_pylist(), seed)
    content |= {"items": len(codes), "items_without_vector": int((~known).sum()), "curve": curve}
    content |= {
        "nearest_collisions": nearest_collisions,
        "method": settings.method,
        "vectors": Path(settings.vectors).name,
        "codes": settings.codes,
    }
    write_json(out / REPORT, content)  # first: it explains a collapse
    write_tensors(out / "weights.safetensors", tensors)
    write_codes(out, dataset, numbered(codes))
    return metrics(content) | {name: float(content[name]) for name in ("nearest_collisions", "items_without_vector")}


def _rq_vae(
    vectors: Tensor, config: SemanticIdsConfig, seed: int, checkpoints: Path, report: Report
) -> tuple[RqVae, list[dict[str, float]]]:
    """A trained RQ-VAE, and the curve of its training.

    The result is the check with the fewest collisions in the second half of training, and the last one of equals.
    """
    torch.manual_seed(seed)
    model = RqVae(vectors.shape[1], config).to(vectors.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    progress = checkpoint.restore(checkpoints, model, optimizer) or Progress()
    model.start(vectors, np.random.default_rng([seed, 1]))
    losses: list[Tensor] = []
    for step in range(progress.step + 1, config.steps + 1):
        rows = _batch(step - 1, len(vectors), config.batch_size, seed)
        terms = model(vectors[torch.from_numpy(rows).to(vectors.device)])
        optimizer.zero_grad()
        (terms.reconstruction + terms.quantization).backward()
        optimizer.step()
        losses.append(torch.stack(terms).detach())
        if step % _CHECK_EVERY and step != config.steps:
            continue
        restarted = model.restart_dead_codes(vectors, np.random.default_rng([seed, 3, step]))
        progress = _checked(model, vectors, progress, step, torch.stack(losses).mean(dim=0), restarted)
        losses = []
        if step >= _CHOOSE_FROM * config.steps and -progress.curve[-1]["collisions"] >= progress.best_metric:
            progress = progress._replace(best_metric=-progress.curve[-1]["collisions"])
            checkpoint.save_best(checkpoints, model)
        checkpoint.save(checkpoints, model, optimizer, progress)
        point = progress.curve[-1]
        report.metrics({f"semantic_ids/{name}": value for name, value in point.items() if name != "step"}, step)
        report.progress(step, config.steps, f"RQ-VAE, collisions {point['collisions']:.3f}")
    checkpoint.load_best(checkpoints, model)
    return model, progress.curve


def _checked(model: RqVae, vectors: Tensor, progress: Progress, step: int, losses: Tensor, restarted: int) -> Progress:
    """The progress with one more point of the curve. Raises DivergedError where a loss (2,) since the last is not
    finite.
    """
    reconstruction, quantization = losses.tolist()
    if not np.isfinite(reconstruction + quantization):
        raise DivergedError(
            f"the loss of RQ-VAE is not finite between the steps {progress.step + 1} and {step}. "
            "Lower semantic_ids.learning_rate."
        )
    collisions = collision_rate(model.codes(vectors).cpu().numpy())
    point = {"step": float(step), "reconstruction": reconstruction, "quantization": quantization,
             "collisions": collisions, "restarted": float(restarted)}  # fmt: skip
    return progress._replace(step=step, curve=[*progress.curve, point])


def _batch(step: int, items: int, size: int, seed: int) -> IntArray:
    """Rows of a batch. Each epoch orders all items anew, depending only on the seed and the epoch."""
    epoch, place = divmod(step, max(1, items // size))
    return _order(epoch, items, seed)[place * size : (place + 1) * size]


@functools.lru_cache(maxsize=1)
def _order(epoch: int, items: int, seed: int) -> IntArray:
    return np.random.default_rng([seed, 2, epoch]).permutation(items).astype(np.int64)
