"""The discriminative model of Eq. 1, plain: one shared encoder, one head per task.

Every analysis compares it with GenSR, so it reads what GenSR reads: the frozen CF table, item texts, behavior types,
positions and the query's tokens. Only the paradigm differs: there is no prompt and no language model, and the task
chooses a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gensr_model.config.base import TASKS
from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.models.base import Attribution, LossParts, RankingModel
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.departures import ItemEmbedding, TrainingReading, Unchanged, pool_read_text
from gensr_model.models.item_vectors import ItemVectors, ReadBatch
from gensr_model.models.losses import candidate_loss
from gensr_model.models.text_pooling import TextBuffers, mean_tokens
from gensr_model.models.views import EncodedView, HistoryEncoder, history_filter
from gensr_model.runtime import distributed


class TwoHead(RankingModel):
    """A shared transformer over the mixed history, candidate attention over its output, and an MLP per task.

    Args:
        config: GenSR's config; its view, filter and embedding switches hold here too.
        words: (V, d_model) initial token vectors, those of GenSR's backbone; the model trains a copy.
        cf: the pre-trained CF table over the items of `text`.
        gamma: weight of the recommendation loss (Eq. 1).
    """

    def __init__(self, config: ModelConfig, words: Tensor, cf: CFTable, text: TextBuffers, gamma: float) -> None:
        super().__init__()
        self.config, self.cf, self.text, self.gamma = config, cf, text, gamma
        width, departures = words.shape[1], config.departures
        self.words = nn.Embedding.from_pretrained(words.detach().clone(), freeze=False)
        self.reading = TrainingReading(departures.cold_items)
        per_item = departures.item_embedding and config.semantic_view
        self.item_embedding = ItemEmbedding(len(cf.table), width) if per_item else Unchanged()
        self.project_cf = nn.Linear(cf.dim, width) if config.cf_view else None
        self.encoder = HistoryEncoder(width, config)
        self.filter = history_filter(width, config)
        # Per task: history, candidate and their product; search adds the query and its product with the
        # candidate.
        self.heads = nn.ModuleDict(
            {task: _head(parts * width, width, config.view_dropout) for task, parts in zip(TASKS, (3, 5), strict=True)}
        )

    def loss(self, batch: Batch) -> LossParts:
        """Eq. 1: L = L_s + γ L_r. A task without rows adds nothing; ``answer_loss: listwise`` works as in GenSR."""
        rows = self._row_losses(batch)
        recommendation, search = (distributed.mean(rows[batch.task == number]) for number in (0, 1))
        parts = {"recommendation": recommendation.detach(), "search": search.detach()}
        return LossParts(search + self.gamma * recommendation, parts)

    def _row_losses(self, batch: Batch) -> Tensor:
        """(B,) binary cross-entropy of the candidates, or listwise loss of the positive."""
        return candidate_loss("listwise" if self.config.answer_loss == "listwise" else "bce", self.score(batch))

    def score(self, batch: Batch) -> Tensor:
        """(B, C) logits of "the user will like it", each row from the head of its task."""
        history, candidate = self._shared(batch)
        query = self.query_vector(batch.query).unsqueeze(1).expand_as(candidate)
        logits = torch.zeros(batch.candidates.shape, dtype=candidate.dtype, device=candidate.device)
        for number, task in enumerate(TASKS):
            rows = torch.nonzero(batch.task == number).squeeze(1)
            h, c, q = history[rows], candidate[rows], query[rows]
            features = [h, c, h * c] if task == "recommendation" else [h, c, h * c, q, q * c]
            answers = self.heads[task](torch.cat(features, dim=-1)).squeeze(-1)  # (rows, C)
            logits = logits.index_copy(0, rows, answers.to(logits.dtype))  # bf16 under autocast
        return logits

    def hidden(self, batch: Batch) -> Tensor:
        """(B, C, d_model) output of the shared encoder for both heads (§6.4.2). The query enters only after it."""
        return self._shared(batch)[0]

    def _shared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """History and candidate vectors, each (B, C, d_model)."""
        encoded, mask, candidate = self._encode(batch)
        return self.filter(candidate, encoded, mask), candidate

    def _encode(self, batch: Batch) -> EncodedView:
        """The batch with both views in one: an item's vector is their sum."""
        read = self.reading(batch, self.text.bags)
        items, batch = self._items(read), read.batch
        encoded = self.encoder(items.at(batch.history), batch.history_mask, batch.behavior)  # (B, H, d)
        return EncodedView(encoded, batch.history_mask, items.at(batch.candidates))

    def attribution(self, batch: Batch) -> Attribution:
        """The weights of the one filter, for each view that the config has. No view has a part of its own."""
        encoded, mask, candidate = self._encode(batch)
        weights = self.filter.weights(candidate, encoded, mask)
        return Attribution(
            (weights if self.config.cf_view else None, weights if self.config.semantic_view else None), (None, None)
        )

    def _items(self, read: ReadBatch) -> ItemVectors:
        """Sum of both views of the batch's items."""
        items, width = read.batch.items, self.words.embedding_dim
        vectors = torch.zeros(len(items), width, device=items.device)
        if self.config.semantic_view:
            pooled = pool_read_text(self.words, self.text.bags, read)
            vectors = vectors + self.item_embedding(pooled, items, read.cold)
        if self.project_cf is None:
            return ItemVectors(vectors)
        cf, first = self.cf.for_batch(read)
        tables = self.project_cf(cf).view(-1, len(items), width)  # one, or one per fold
        return ItemVectors((tables + vectors).flatten(0, 1), first)

    def query_vector(self, query: Tensor) -> Tensor:
        """(B,) query_idx → (B, d_model): mean of the query's token vectors, zeros without a query."""
        prompts = self.text.prompts(query)
        return mean_tokens(self.words, prompts.query, prompts.query_length)

    def task_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """L_r and L_s before weighting: the mean loss of each task's rows. NaN for a task without rows."""
        rows = self._row_losses(batch)
        return rows[batch.task == 0].mean(), rows[batch.task == 1].mean()

    def conflict_parameters(self) -> list[nn.Parameter]:
        """The self-attention of the shared encoder. §6.5 compares its task gradients."""
        return list(self.encoder.layer.self_attn.parameters())

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: item i is row ``rows[i]`` of training, or unknown (-1)."""
        self.cf.select(rows)
        self.item_embedding.select(rows)


def _head(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
