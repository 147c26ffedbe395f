"""GenSR (§5): two views of a mixed history, a soft filter, and a T5 that answers Yes or No."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.text import ItemText, PromptTable
from gensr_model.models.backbone import first_step_hidden
from gensr_model.models.views import (
    CFTable,
    ItemEmbedding,
    View,
    contrastive_loss,
    distinct_users,
    drawn_cold,
    masked_mean,
    mean_tokens,
    pool_text,
)
from gensr_model.runtime import distributed


class EncodedView(NamedTuple):
    """A view of a batch: what its candidates are read from."""

    view: View
    vectors: Tensor  # (M, d) of the batch's items; (K · M, d) in training with K folds
    history: Tensor  # (B, H, d) encoded
    candidates: Tensor  # (B, C) rows of ``vectors``


Encoded = list[EncodedView | None]  # the CF view and the semantic one; None for a view left out

# Tokens, padding included, that one call of the backbone may have for each that two would have.
PADDING = {"cuda": 1.25}


class LossParts(NamedTuple):
    """What one batch costs; ``total`` is what is minimised."""

    total: Tensor
    parts: dict[str, Tensor]  # detached, for the log


class TrainingBatch(NamedTuple):
    """A batch as ``TextBuffers.training_batch`` has it. In evaluation it is as it came, nothing cold or left out."""

    batch: Batch
    cold: Tensor | None  # (M,) which of the batch's items stand in it as items nobody has met
    left_out: Tensor | None  # (B,) query whose words the last B items, the positives, are read without


class TextBuffers(nn.Module):
    """The texts that belong to a dataset, not to the model: item token bags and prompts of its queries."""

    def __init__(self, text: ItemText, prompts: PromptTable) -> None:
        super().__init__()
        self.register_buffer("tokens", text.tokens, persistent=False)
        self.register_buffer("offsets", text.offsets, persistent=False)
        self.weights: Tensor | None
        self.cold_weights: Tensor | None
        self.register_buffer("weights", text.weights, persistent=False)
        self.register_buffer("cold_weights", text.cold_weights, persistent=False)
        self.lone_query: Tensor | None
        self.register_buffer("lone_query", text.lone_query, persistent=False)
        self.set_prompts(prompts)

    def set_prompts(self, prompts: PromptTable) -> None:
        """Take the prompts of another list of queries."""
        device = self.get_buffer("tokens").device
        for name, tensor in prompts._asdict().items():
            self.register_buffer(f"prompt_{name}", tensor.to(device), persistent=False)

    @property
    def text(self) -> ItemText:
        """Token bags of all items."""
        bags = self.get_buffer("tokens"), self.get_buffer("offsets")
        return ItemText(*bags, self.weights, self.cold_weights, self.lone_query)

    def training_batch(self, batch: Batch, cold_items: float) -> TrainingBatch:
        """How a model reads a batch in training: which items are cold, and which words each positive lacks.

        Items are drawn before their copies are made, so that an item is cold in all of a batch or nowhere in it.
        """
        cold = drawn_cold(cold_items, batch.items)
        if self.lone_query is None:
            return TrainingBatch(batch, cold, None)
        if cold is not None:
            cold = torch.cat([cold, cold[batch.candidates[:, 0]]])
        return TrainingBatch(batch.own_positives(), cold, batch.query)

    def longest(self, query: Tensor) -> int:
        """Tokens of the longest prompt of queries (B,)."""
        return int(self.get_buffer("prompt_length")[query].max())

    def prompts(self, query: Tensor) -> PromptTable:
        """The prompt rows of queries (B,); -1, the last row, is recommendation's. Cut to the longest."""
        length = self.get_buffer("prompt_length")[query]
        ids = self.get_buffer("prompt_ids")[query, : int(length.max())]
        rest = (self.get_buffer(f"prompt_{name}")[query] for name in ("slots", "query", "query_length"))
        return PromptTable(ids, length, *rest)


class DualViewT5(nn.Module, ABC):
    """What both ways to generate share (§5.1, §5.2): two views of the history, a prompt with slots, L_S&R + β L_c.

    A subclass fills the slots (``_prompt``) and says what it generates (``row_losses``).

    Args:
        backbone: a T5; its input embeddings are also the semantic view's token vectors.
        cf: the pre-trained CF table over the items of ``catalogue``.
    """

    def __init__(
        self, config: ModelConfig, backbone: T5ForConditionalGeneration, cf: CFTable, catalogue: TextBuffers
    ) -> None:
        super().__init__()
        self.config, self.backbone, self.cf, self.catalogue = config, backbone, cf, catalogue
        width = backbone.model_dim
        self.cf_view = View(cf.dim, width, config) if config.cf_view else None
        self.semantic_view = View(width, width, config) if config.semantic_view else None
        own = config.semantic_view and config.item_embedding
        self.item = ItemEmbedding(len(cf.table), width) if own else None
        contrast = self.cf_view is not None and self.semantic_view is not None and config.beta > 0
        self.align_cf = nn.Linear(cf.dim, cf.dim) if contrast else None
        self.align_semantic = nn.Linear(width, cf.dim) if contrast else None

    @abstractmethod
    def _prompt(self, batch: Batch, encoded: Encoded, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 9 for some rows (R,): embeddings (R, C, L, d_model) with the slots filled, and their mask (R, L)."""

    @abstractmethod
    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, C), or (B, 1) where a row has one loss: negative log-likelihood of what is to be generated."""

    def select(self, rows: Tensor) -> None:
        """Become the model of another catalogue: item i is row ``rows[i]`` of training, or unknown (-1)."""
        self.cf.select(rows)
        if self.item is not None:
            self.item.select(rows)

    def _encode(self, batch: Batch) -> Encoded:
        out: Encoded = []
        cold = left_out = None
        if self.training:
            batch, cold, left_out = self.catalogue.training_batch(batch, self.config.cold_items)
        for view in (self.cf_view, self.semantic_view):
            if view is None:
                out.append(None)
                continue
            history, candidates = batch.history, batch.candidates
            if view is self.cf_view:
                vectors, first = self.cf.of_batch(batch, cold)
                history, candidates = history + first, candidates + first
            else:
                vectors = pool_text(self.backbone.shared, self.catalogue.text, batch.items, cold, left_out)
                if self.item is not None:
                    vectors = vectors + self.item(batch.items, cold)
            encoded = view.encode(vectors, history, batch.history_mask, batch.behavior)
            out.append(EncodedView(view, vectors, encoded, candidates))
        return out

    def _hidden(self, batch: Batch, encoded: Encoded) -> Tensor:
        """First decoder state of every row of the batch: (B, C, d_model)."""
        hidden, order = [], self._calls(batch)
        for rows in order:
            embeds, mask = self._prompt(batch, encoded, rows)
            count, candidates, length, width = embeds.shape
            mask = mask.unsqueeze(1).expand(count, candidates, length).reshape(-1, length)
            state = first_step_hidden(self.backbone, embeds.view(-1, length, width), mask.long())
            hidden.append(state.view(count, candidates, width))
        if len(order) == 1:
            return hidden[0]
        return torch.cat(hidden)[torch.argsort(torch.cat(order))]

    def _calls(self, batch: Batch) -> list[Tensor]:
        """Rows of the batch that go through the backbone together: all, or one task after the other.

        A recommendation prompt has no query, and padding it to the search prompts' length costs a CPU more than a
        second call. A GPU would rather have one large call, of a size that does not change from batch to batch.
        """
        tasks = [rows for task in (0, 1) if len(rows := torch.nonzero(batch.task == task).squeeze(1))]
        if len(tasks) > 1:
            longest = [self.catalogue.longest(batch.query[rows]) for rows in tasks]
            apart = sum(len(rows) * length for rows, length in zip(tasks, longest, strict=True))
            if len(batch.task) * max(longest) <= apart * PADDING.get(batch.task.device.type, 1.0):
                return [torch.arange(len(batch.task), device=batch.task.device)]
        return tasks

    def hidden(self, batch: Batch) -> Tensor:
        """(B, C, d_model) the state that the answer is read from: after all that the tasks share (§6.4.2)."""
        return self._hidden(batch, self._encode(batch))

    def task_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean answer loss of the recommendation rows and of the search rows, before any weighting (§6.5)."""
        rows = self.row_losses(batch).mean(dim=1)
        return rows[batch.task == 0].mean(), rows[batch.task == 1].mean()

    def contrastive(self, batch: Batch, encoded: Encoded) -> Tensor:
        """Eq. 10 over the distinct users of the batch, of all processes' parts of it."""
        cf, semantic = encoded
        assert cf is not None and self.align_cf is not None  # noqa: PT018  # for the type checker
        assert semantic is not None and self.align_semantic is not None  # noqa: PT018
        mask = batch.history_mask
        of_user = (batch.user, batch.history_end, mask.any(dim=1))
        rows = distinct_users(*(distributed.gather_rows(each) for each in of_user)).rows
        cf_view = distributed.gather_rows(self.align_cf(masked_mean(cf.history, mask)))
        semantic_view = distributed.gather_rows(self.align_semantic(masked_mean(semantic.history, mask)))
        return contrastive_loss(cf_view[rows], semantic_view[rows], self.config.tau)

    def loss(self, batch: Batch) -> LossParts:
        """Eq. 11: L = L_S&R + β L_c."""
        encoded = self._encode(batch)
        # First, as it picks rows, for which the host waits until a GPU has done all that it was given.
        contrast = None if self.align_cf is None else self.contrastive(batch, encoded)
        generation = distributed.mean(self.row_losses(batch, encoded))
        parts = {"generation": generation.detach()}
        if contrast is None:
            return LossParts(generation, parts)
        parts["contrastive"] = contrast.detach()
        return LossParts(generation + self.config.beta * contrast, parts)

    def conflict_parameters(self) -> list[nn.Parameter]:
        """The self-attention of the encoder's last block, whose task gradients §6.5 compares."""
        last: nn.Module = list(self.backbone.encoder.block)[-1]
        return list(last.get_submodule("layer.0.SelfAttention").parameters())


class GenSR(DualViewT5):
    """The model of Figure 2: does the user like this candidate, Yes or No?

    Args:
        answers: token ids of No and Yes.
    """

    scores_in_bf16 = True  # under autocast: ``_margin`` is fp32 all the same

    def __init__(
        self,
        config: ModelConfig,
        backbone: T5ForConditionalGeneration,
        cf: CFTable,
        catalogue: TextBuffers,
        answers: tuple[int, int],
    ) -> None:
        super().__init__(config, backbone, cf, catalogue)
        width, with_query = backbone.model_dim, config.query_interaction and config.semantic_view
        self.query_product = nn.Linear(width, width, bias=False) if with_query else None
        self.answers: Tensor
        self.register_buffer("answers", torch.tensor(answers), persistent=False)

    def _prompt(self, batch: Batch, encoded: Encoded, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 9 for some rows (R,): embeddings (R, C, L, d_model) with the four slots filled, and their mask (R, L)."""
        prompts = self.catalogue.prompts(batch.query[rows])
        words = self.backbone.shared(prompts.ids)  # (R, L, d_model)
        embeds = words.unsqueeze(1).repeat(1, batch.candidates.shape[1], 1, 1)  # (R, C, L, d_model)
        row = torch.arange(len(rows), device=words.device)
        for number, of in enumerate(encoded):
            if of is None:
                continue
            candidates = of.vectors[of.candidates[rows]]
            slots = of.view.slots(of.history[rows], batch.history_mask[rows], candidates)
            if self.query_product is not None and of.view is self.semantic_view:
                query = mean_tokens(self.backbone.shared, prompts.query, prompts.query_length)
                product = self.query_product(query.unsqueeze(1) * candidates)
                slots = slots[0], slots[1] + product
            for offset, filled in zip((0, 2), slots, strict=True):
                # Advanced indices around a slice put the batch axis first: (R, C, d_model); bf16 under autocast.
                embeds[row, :, prompts.slots[:, offset + number]] = filled.to(embeds.dtype)
        mask = torch.arange(words.shape[1], device=words.device) < prompts.length.unsqueeze(1)
        return embeds, mask

    def score(self, batch: Batch) -> Tensor:
        """(B, C) z_yes − z_no: constrained generation renormalised over the two answers; σ(score) = P(Yes)."""
        return self._margin(self.hidden(batch))

    def _margin(self, hidden: Tensor) -> Tensor:
        no, yes = self.backbone.lm_head.weight[self.answers]
        # In fp32 also under autocast, which would round the last sum to 8 bits: unlike candidates would tie.
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ (yes - no).float()

    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, C) negative log-likelihood of the answer (Eq. 12): Yes in column 0, No in the others.

        With ``answer_loss: listwise`` (B, 1): of column 0 being the one that is liked (``listwise_loss``).
        """
        hidden = self._hidden(batch, self._encode(batch) if encoded is None else encoded)
        if self.config.answer_loss == "listwise":
            return listwise_loss(self._margin(hidden))
        label = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        label[:, 0] = 1
        if self.config.answer_loss == "yes_no":
            return F.binary_cross_entropy_with_logits(
                self._margin(hidden), label.to(hidden.dtype), reduction="none"
            )
        logits = self.backbone.lm_head(hidden)  # (B, C, V)
        return F.cross_entropy(logits.flatten(0, 1), self.answers[label].flatten(), reduction="none").view_as(
            label
        )


def listwise_loss(margin: Tensor) -> Tensor:
    """(B, C) z_yes − z_no, the positive in column 0 → (B, 1) −log of the positive's share of a softmax over the row."""
    return -F.log_softmax(margin, dim=1)[:, :1]
