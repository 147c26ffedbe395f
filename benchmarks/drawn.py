"""A random GenSR and dataset, for timings without DuckDB, downloads and trained models.

The cost of a step depends only on shapes: those of the backbone, histories, item texts and prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from gensr_model.config.model import ModelConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import Events, IntArray, Samples
from gensr_model.data.text import ItemText, PromptTable
from gensr_model.models.backbone import fuse_gelu
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.gensr import GenSR
from gensr_model.models.text_pooling import TextBuffers

ITEMS, QUERIES, USERS, HISTORY = 4_000, 500, 2_000, 30
QUERY_TOKENS = 8
SHAPES = {
    "laptop": {"d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 6},
    "paper": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12},
}  # fmt: skip  # the small one from scratch, flan-t5-small cut to two layers, flan-t5-base


class DrawnData(NamedTuple):
    """The parts of a dataset that a ``BatchBuilder`` and the benchmarks read. Every history has 30 events."""

    events: Events
    every: Samples
    n_items: int


def drawn_data(seed: int = 0) -> DrawnData:
    """One sample of each task per user, each with the user's 30 events before the sample."""
    rng = np.random.default_rng(seed)
    count = USERS * HISTORY
    user = np.repeat(np.arange(USERS), HISTORY)
    behavior = rng.integers(2, size=count)
    query = np.where(behavior == 1, rng.integers(QUERIES, size=count), -1)
    events = Events(user, rng.integers(ITEMS, size=count), behavior, query)
    task, sample_user = np.tile([0, 1], USERS), np.repeat(np.arange(USERS), 2)
    samples = Samples(
        sample_id=np.array([f"drawn-{n}" for n in range(2 * USERS)], object),
        task=task,
        user=sample_user,
        item=rng.integers(ITEMS, size=2 * USERS),
        query=np.where(task == 1, rng.integers(QUERIES, size=2 * USERS), -1),
        history_start=sample_user * HISTORY,
        history_end=(sample_user + 1) * HISTORY,
    )
    return DrawnData(events, samples, ITEMS)


def lists(data: DrawnData, samples: Samples, negatives: int, rng: np.random.Generator) -> IntArray:
    """(B, 1 + negatives) candidate lists, the positive in column 0."""
    drawn = rng.integers(data.n_items, size=(len(samples), negatives))
    return np.concatenate([samples.item[:, None], drawn], axis=1)


def model_config(shape: str, dropout: float) -> ModelConfig:
    """The preset's model with 30 events of history and the paper's loss over the vocabulary (Eq. 12)."""
    config = PipelineConfig.model_validate({"preset": shape}).model
    changes = {"max_history": HISTORY, "view_dropout": dropout, "answer_loss": "vocabulary"}
    return config.model_copy(update=changes)


def drawn_model(shape: str, prompt_tokens: int, dropout: float = 0.1, seed: int = 0) -> GenSR:
    """GenSR over a T5 of a preset's shape with random weights; texts at full budget, prompts of one length."""
    torch.manual_seed(seed)
    config = model_config(shape, dropout)
    t5 = T5Config(
        vocab_size=32_128, feed_forward_proj="gated-gelu", dropout_rate=dropout, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1, **SHAPES[shape],
    )  # fmt: skip
    backbone = T5ForConditionalGeneration(t5)
    fuse_gelu(backbone)
    budget = config.text.title_tokens + config.text.description_tokens
    text = ItemText(torch.randint(3, 32_000, (ITEMS * budget,)), torch.arange(ITEMS + 1) * budget)
    catalogue = TextBuffers(text, _prompts(prompt_tokens))
    cf = CFTable(torch.randn(ITEMS, 64), torch.ones(ITEMS, dtype=torch.bool))
    return GenSR(config, backbone, cf, catalogue, (465, 2163))


def _prompts(tokens: int) -> PromptTable:
    rows = QUERIES + 1
    place = torch.linspace(1, tokens - 2, 4).long()
    return PromptTable(
        ids=torch.randint(3, 32_000, (rows, tokens)),
        length=torch.full((rows,), tokens),
        slots=place.expand(rows, 4).contiguous(),
        query=torch.randint(3, 32_000, (rows, QUERY_TOKENS)),
        query_length=torch.full((rows,), QUERY_TOKENS),
    )


def flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products of ``work``, those of its backward pass included."""
    # Attention without fused kernels, which are not counted.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()
