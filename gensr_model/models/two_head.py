"""The discriminative paradigm of Eq. 1, plain: one shared encoder, one head per task.

It stands beside GenSR in every analysis, so it reads exactly what GenSR reads: the frozen CF table, the
text of items, behavior types and positions, and the query's tokens. What differs is the paradigm: no prompt
and no language model, the task chooses a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.config.base import TASKS
from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.models.gensr import LossParts, TextBuffers
from gensr_model.models.views import (
    CFTable,
    HistoryEncoder,
    ItemEmbedding,
    masked_mean,
    mean_tokens,
    pool_text,
    soft_filter,
)
from gensr_model.runtime import distributed


class TwoHead(nn.Module):
    """Shared transformer over the mixed history, candidate attention over its output, an MLP per task.

    Args:
        config: the same as GenSR's; its view, filter and embedding switches hold here too.
        words: (V, d_model) initial token vectors, those that GenSR's backbone starts from; a copy is trained.
        cf: the pre-trained CF table over the items of `catalogue`.
        gamma: weight of the recommendation loss (Eq. 1).
    """

    def __init__(
        self, config: ModelConfig, words: Tensor, cf: CFTable, catalogue: TextBuffers, gamma: float
    ) -> None:
        super().__init__()
        self.config, self.cf, self.catalogue, self.gamma = config, cf, catalogue, gamma
        width = words.shape[1]
        self.words = nn.Embedding.from_pretrained(words.detach().clone(), freeze=False)
        own = config.semantic_view and config.item_embedding
        self.item = ItemEmbedding(len(cf.table), width) if own else None
        self.project_cf = nn.Linear(cf.dim, width) if config.cf_view else None
        self.encoder = HistoryEncoder(width, config)
        self.filter = soft_filter(width, config)
        # Per task: history, candidate and their product; search adds the query and its product with the
        # candidate.
        self.heads = nn.ModuleDict(
            {
                task: _head(parts * width, width, config.view_dropout)
                for task, parts in zip(TASKS, (3, 5), strict=True)
            }
        )

    def select(self, rows: Tensor) -> None:
        """Become the model of another catalogue: item i is row ``rows[i]`` of training, or unknown (-1)."""
        self.cf.select(rows)
        if self.item is not None:
            self.item.select(rows)

    def _items(self, batch: Batch, cold: Tensor | None, left_out: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both views of the batch's items, added, and where each sample's begin: as ``CFTable.of_batch``."""
        items, width = batch.items, self.words.embedding_dim
        vectors = torch.zeros(len(items), width, device=items.device)
        if self.config.semantic_view:
            vectors = vectors + pool_text(self.words, self.catalogue.text, items, cold, left_out)
        if self.item is not None:
            vectors = vectors + self.item(items, cold)
        if self.project_cf is None:
            return vectors, torch.zeros_like(batch.user).unsqueeze(1)
        cf, first = self.cf.of_batch(batch, cold)
        tables = self.project_cf(cf).view(-1, len(items), width)  # one, or one per fold
        return (tables + vectors).flatten(0, 1), first

    def _query(self, query: Tensor) -> Tensor:
        """(B,) query_idx → (B, d_model): mean of the query's token vectors, zeros without a query."""
        prompts = self.catalogue.prompts(query)
        return mean_tokens(self.words, prompts.query, prompts.query_length)

    def _shared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """History and candidate vectors, each (B, C, d_model)."""
        cold = left_out = None
        if self.training:
            batch, cold, left_out = self.catalogue.training_batch(batch, self.config.cold_items)
        vectors, first = self._items(batch, cold, left_out)
        encoded = self.encoder(
            vectors[batch.history + first], batch.history_mask, batch.behavior
        )  # (B, H, d)
        candidate = vectors[batch.candidates + first]  # (B, C, d)
        if self.filter is None:
            return masked_mean(encoded, batch.history_mask).unsqueeze(1).expand_as(candidate), candidate
        return self.filter(candidate, encoded, batch.history_mask), candidate

    def hidden(self, batch: Batch) -> Tensor:
        """(B, C, d_model) what the shared encoder gives to both heads (§6.4.2); the query comes after it."""
        return self._shared(batch)[0]

    def score(self, batch: Batch) -> Tensor:
        """(B, C) logits of "the user will like it", each row from its own task's head."""
        history, candidate = self._shared(batch)
        query = self._query(batch.query).unsqueeze(1).expand_as(candidate)
        logits = torch.zeros(batch.candidates.shape, dtype=candidate.dtype, device=candidate.device)
        for number, task in enumerate(TASKS):
            rows = torch.nonzero(batch.task == number).squeeze(1)
            h, c, q = history[rows], candidate[rows], query[rows]
            features = [h, c, h * c] if task == "recommendation" else [h, c, h * c, q, q * c]
            found = self.heads[task](torch.cat(features, dim=-1)).squeeze(-1)  # (rows, C)
            logits = logits.index_copy(0, rows, found.to(logits.dtype))  # bf16 under autocast
        return logits

    def task_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """L_r and L_s before weighting: mean binary cross-entropy of each task's rows, NaN for an absent task."""
        rows = self._row_losses(batch)
        return rows[batch.task == 0].mean(), rows[batch.task == 1].mean()

    def _row_losses(self, batch: Batch) -> Tensor:
        logits = self.score(batch)
        label = torch.zeros_like(logits)
        label[:, 0] = 1.0
        return F.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(dim=1)

    def loss(self, batch: Batch) -> LossParts:
        """Eq. 1: L = L_s + γ L_r; a task that the batch lacks adds nothing."""
        rows = self._row_losses(batch)
        recommendation, search = (distributed.mean(rows[batch.task == number]) for number in (0, 1))
        parts = {"recommendation": recommendation.detach(), "search": search.detach()}
        return LossParts(search + self.gamma * recommendation, parts)

    def conflict_parameters(self) -> list[nn.Parameter]:
        """The self-attention of the shared encoder, whose task gradients §6.5 compares."""
        return list(self.encoder.layer.self_attn.parameters())


def _head(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
