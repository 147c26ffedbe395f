"""Departures AR and AS (docs/reference/beyond_the_paper.md): an output layer tied to both views of an item."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.text import PromptTable
from gensr_model.decoding.beam import Beams
from gensr_model.models.base import Attribution
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.departures import ItemEmbedding, Unchanged
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.gensr import Encoded
from gensr_model.models.item_vectors import ItemVectors, ReadBatch
from gensr_model.models.known_pairs import KnownPairs
from gensr_model.models.text_pooling import TextBuffers, masked_mean, mean_tokens
from gensr_model.models.views import EncodedView

_LOG_SCALE = -1.4  # scales products of unit vectors to the size of log-probabilities


class Catalogue(NamedTuple):
    """What every item adds to its logit."""

    bias: Tensor  # (I,)
    views: tuple[ItemVectors | None, ItemVectors | None]  # CF and text


class ViewRanking(FullRanking):
    """Full ranking with the item logit state · e_i + state · s_i + bias, from both item views.

    No item has a token. An item without training samples is ranked by its text.

    Args:
        config: its soft filter must be off.
        backbone: its vocabulary has no item tokens.
        pairs: departure AT; None without it.
    """

    def __init__(
        self,
        config: ModelConfig,
        full: FullRankingConfig,
        backbone: T5ForConditionalGeneration,
        cf: CFTable,
        text: TextBuffers,
        pairs: KnownPairs | None,
    ) -> None:
        super().__init__(config, full, backbone, cf, text, backbone.lm_head.out_features)
        shortcuts, width = full.departures.shortcuts, backbone.model_dim
        self.cf_output = ViewOutput(cf.dim, width, shortcuts) if config.cf_view else None
        self.text_output = ViewOutput(width, width, shortcuts) if config.semantic_view else None
        self.query = QueryShortcut(width) if shortcuts and config.semantic_view else Unchanged()
        self.known = torch.arange(len(cf.table))
        self.bias = ItemEmbedding(len(cf.table), 1)
        self.pairs = pairs
        self.catalogue: Catalogue | None = None  # after ``precompute_items``

    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, 1) −log p(positive) among all items, or among drawn items in a catalogue above ``sampled_above``.

        The positive's vectors leave out what its own sample contributed: its search (AK) and its purchase (AL).
        """
        encoded = self.encode(batch) if encoded is None else encoded
        items, scored = len(self.bias.table), self._drawn(batch.items.device)
        read = self.reading(batch._replace(items=torch.cat([batch.items, scored])), self.text.bags)
        asked, prompts = self._asked(batch, encoded), self.text.prompts(batch.query)
        first, place = len(batch.items), read.batch.candidates[:, :1]
        target = read.batch.items[place]  # (B, 1)
        others = self._bias(read)[first : first + len(scored)] + math.log(items / len(scored))
        positive = self._bias(read)[place[:, 0]]
        for wanted, vectors in zip(asked, self._vectors(read), strict=True):
            if wanted is not None and vectors is not None:
                others = others + vectors.products(wanted, first, first + len(scored))
                positive = positive + (wanted * vectors.at(place).squeeze(1)).sum(dim=1)
        if self.pairs is not None:
            others = others + self.pairs(batch, prompts, scored)
            positive = positive + self.pairs.of_positive(batch, prompts, target[:, 0])
        every = torch.cat([positive.unsqueeze(1), others.masked_fill(scored == target, -torch.inf)], dim=1)
        return (torch.logsumexp(every, dim=1) - positive).unsqueeze(1)

    def score(self, batch: Batch) -> Tensor:
        """(B, C) logits of the candidates."""
        return self.catalogue_scores(batch).gather(1, batch.items[batch.candidates])

    def catalogue_scores(self, batch: Batch) -> Tensor:
        """(B, I) logits of every item. The batch's candidates have no effect."""
        catalogue = self.catalogue or self._catalogue()
        logits = catalogue.bias
        for term in self._terms(batch, catalogue):
            if term is not None:
                logits = logits + term
        return logits

    def _terms(self, batch: Batch, catalogue: Catalogue) -> Iterator[Tensor | None]:
        """(B, I) what CF, text and counts add to the bias of every item. None for a part that the config leaves out."""
        for wanted, vectors in zip(self._asked(batch, self.encode(batch)), catalogue.views, strict=True):
            yield None if wanted is None or vectors is None else vectors.products(wanted, 0, len(self.known))
        every = torch.arange(len(self.known), device=batch.items.device)
        yield None if self.pairs is None else self.pairs(batch, self.text.prompts(batch.query), every)

    def attribution(self, batch: Batch) -> Attribution:
        """The terms of the logit, each less its mean over all items. ``other`` is the item's bias and its counts.

        Together they are the logit less the mean logit. The terms are exact, so no placeholder is replaced.
        """
        catalogue = self.catalogue or self._catalogue()
        cf, text, counts = self._terms(batch, catalogue)
        places = batch.items[batch.candidates]

        def part(term: Tensor) -> Tensor:  # (B, I) or (I,) → (B, C)
            return (term - term.mean(dim=-1, keepdim=True)).expand(len(places), -1).gather(1, places)

        views = None if cf is None else part(cf), None if text is None else part(text)
        other = part(catalogue.bias if counts is None else catalogue.bias + counts)
        return Attribution((None, None), views, other)

    @torch.no_grad()
    def precompute_items(self) -> None:
        super().precompute_items()
        self.catalogue = self._catalogue()

    def _catalogue(self) -> Catalogue:
        read = self._every_item()
        return Catalogue(self._bias(read), self._vectors(read))

    @torch.inference_mode()
    def generate(self, batch: Batch, beams: int) -> Beams:
        """The ``beams`` best items, best first. Scores are log-probabilities among all items.

        The answer is one step of the decoder, so no beam search is needed.
        """
        scores = self.catalogue_scores(batch).log_softmax(dim=1)
        best = scores.topk(min(beams, scores.shape[1]), dim=1)
        missing = (0, beams - best.values.shape[1])
        return Beams(F.pad(best.indices, missing, value=-1), F.pad(best.values, missing, value=-torch.inf))

    def _drawn(self, device: torch.device) -> Tensor:
        """(n,) items that the positives of a batch compete with: all items, or some drawn for the batch."""
        items = len(self.bias.table)
        if items <= self.full.sampled_above:
            return torch.arange(items, device=device)
        return torch.randperm(items, device=device)[: self.full.sampled_items]

    def _asked(self, batch: Batch, encoded: Encoded) -> tuple[Tensor | None, Tensor | None]:
        """For each view the vector (B, d) that multiplies the item vectors."""
        state, cf, text = self.decoder_state(batch, encoded), None, None
        if self.cf_output is not None and encoded.cf is not None:
            cf = self.cf_output(state, encoded.cf)
        if self.text_output is not None and encoded.semantic is not None:
            text = self.text_output(state, encoded.semantic)
            text = self.query(text, self.backbone.shared, self.text.prompts(batch.query))
        return cf, text

    def _vectors(self, read: ReadBatch) -> tuple[ItemVectors | None, ItemVectors | None]:
        """e_i and s_i of a batch's items, each at unit scale."""
        cf = None if self.cf_output is None else self.cf.for_batch(read)
        if self.text_output is None:
            return cf, None
        text = self._semantic_items(read).rows
        return cf, ItemVectors(F.layer_norm(text, text.shape[-1:]))

    def _bias(self, read: ReadBatch) -> Tensor:
        """(M,) bias of the batch's items. 0 for an item that is cold or without training samples."""
        items = read.batch.items
        bias: Tensor = self.bias(self.bias.table.new_zeros(len(items), 1), items, read.cold)
        return bias.squeeze(1)

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: its item i is item ``rows[i]`` of training, or unknown (−1)."""
        super().select(rows)
        self.bias.select(rows)
        if self.pairs is not None:
            self.pairs.select(rows)


class ViewOutput(nn.Module):
    """AR: maps the decoder state to a vector for the products with one view's items. AS adds the history's vectors.

    With AS the mean and the latest event of the history are added to the T5's state.

    Args:
        dim: d of the view. width: d_model of the backbone.
    """

    def __init__(self, dim: int, width: int, shortcuts: bool) -> None:
        super().__init__()
        self.state = nn.Linear(width, dim)
        nn.init.normal_(self.state.weight, std=0.02)
        self.mean = nn.Linear(dim, dim, bias=False) if shortcuts else None
        self.latest = nn.Linear(dim, dim, bias=False) if shortcuts else None
        self.log_scale = nn.Parameter(torch.tensor(_LOG_SCALE))
        if self.mean is not None and self.latest is not None:
            self.mean.weight.data.copy_(torch.eye(dim) / 2)
            nn.init.zeros_(self.latest.weight)

    def forward(self, state: Tensor, encoded: EncodedView) -> Tensor:
        """(B, d_model) and a view of B histories → (B, d)."""
        asked: Tensor = self.state(state)
        if self.mean is not None and self.latest is not None:
            asked = asked + self.mean(masked_mean(encoded.history, encoded.mask)) + self.latest(encoded.history[:, -1])
        return asked * self.log_scale.exp()


class QueryShortcut(nn.Module):
    """AS: adds W q to the vector for the products with item texts.

    q is the mean of the query's token vectors, and W starts as an identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width, width, bias=False)
        self.weight.weight.data.copy_(torch.eye(width) * math.exp(_LOG_SCALE))

    def forward(self, asked: Tensor, words: nn.Embedding, prompts: PromptTable) -> Tensor:
        """(B, d_model), the backbone's token vectors, prompts of B rows → (B, d_model)."""
        query: Tensor = self.weight(mean_tokens(words, prompts.query, prompts.query_length))
        return asked + query
