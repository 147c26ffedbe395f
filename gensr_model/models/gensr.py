"""GenSR (§5): two views of a mixed history, a soft filter, and a T5 that answers Yes or No.

views.py has Eq. 5 to 8, this file Eq. 9, 11 and 12, and contrastive.py Eq. 10. departures.py has what is not in the
paper.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from gensr_model.config.model import ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.text import PromptTable
from gensr_model.errors import ConfigError
from gensr_model.models.backbone import first_step_hidden
from gensr_model.models.base import Attribution, LossParts, RankingModel
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.contrastive import ContrastiveAlignment
from gensr_model.models.departures import ItemEmbedding, QueryProduct, TrainingReading, Unchanged, pool_read_text
from gensr_model.models.item_vectors import ItemVectors, ReadBatch
from gensr_model.models.losses import binary_cross_entropy, listwise_loss
from gensr_model.models.text_pooling import TextBuffers
from gensr_model.models.views import EncodedView, View
from gensr_model.runtime import distributed

# One call of the backbone may have this many times the tokens, padding included, of two calls.
PADDING = {"cuda": 1.25}


class Encoded(NamedTuple):
    """Both views of a batch. A view that the config leaves out is None."""

    cf: EncodedView | None
    semantic: EncodedView | None

    def take(self, rows: Tensor) -> Encoded:
        """The samples at ``rows`` (b,)."""
        return Encoded(*(None if view is None else view.take(rows) for view in self))

    @staticmethod
    def concatenate(batches: Sequence[Encoded]) -> Encoded:
        """The samples of all batches, which have the same views, one batch after the other."""
        views = zip(*batches, strict=True)
        return Encoded(*(None if v[0] is None else EncodedView(*map(torch.cat, zip(*v, strict=True))) for v in views))

    def neutral(self, place: int, mean: Tensor) -> Encoded:
        """The same with ``EncodedView.neutral`` in view ``place``: 0 is CF, 1 is semantic."""
        return Encoded(*(v.neutral(mean) if v is not None and n == place else v for n, v in enumerate(self)))


class DualViewT5(RankingModel):
    """The parts that candidate scoring and full ranking share (§5.1, §5.2): two views, prompt slots, L_S&R + β L_c.

    A subclass defines the vectors in the slots (``_slots``) and the generated answer (``row_losses``).

    Args:
        backbone: a T5; its input embeddings are also the semantic view's token vectors.
        cf: the pre-trained CF table over the items of ``text``.
    """

    def __init__(
        self, config: ModelConfig, backbone: T5ForConditionalGeneration, cf: CFTable, text: TextBuffers
    ) -> None:
        super().__init__()
        self.config, self.backbone, self.cf, self.text = config, backbone, cf, text
        width, departures = backbone.model_dim, config.departures
        self.reading = TrainingReading(departures.cold_items)
        self.cf_view = View(cf.dim, width, config) if config.cf_view else None
        self.semantic_view = View(width, width, config) if config.semantic_view else None
        per_item = departures.item_embedding and config.semantic_view
        self.item_embedding = ItemEmbedding(len(cf.table), width) if per_item else Unchanged()
        both = config.cf_view and config.semantic_view
        self.contrast = ContrastiveAlignment(cf.dim, width, config.tau) if both and config.beta > 0 else None
        # After ``precompute_items``: (I, d_model) s_i of every item, and (d,) the mean item of each view.
        self.text_table: Tensor | None = None
        self.item_means: tuple[Tensor | None, Tensor | None] | None = None

    def loss(self, batch: Batch) -> LossParts:
        """Eq. 11: L = L_S&R + β L_c."""
        encoded = self.encode(batch)
        # First: it selects rows, and the host waits for the GPU there. Later the queue of the GPU would be longer.
        contrast = None if self.contrast is None else self.contrast(batch, *encoded)
        generation = distributed.mean(self.row_losses(batch, encoded))
        parts = {"generation": generation.detach()}
        if contrast is None:
            return LossParts(generation, parts)
        parts["contrastive"] = contrast.detach()
        return LossParts(generation + self.config.beta * contrast, parts)

    @abstractmethod
    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, C), or (B, 1) where a row has one loss: negative log-likelihood of the answer."""

    def hidden(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, C, d_model) the first decoder state. The answer is read from it, and all tasks share it (§6.4.2)."""
        encoded = self.encode(batch) if encoded is None else encoded
        states, calls = [], self.backbone_calls(batch)
        for rows in calls:
            embeds, mask = self.prompt(batch, encoded, rows)
            count, candidates, length, width = embeds.shape
            mask = mask.unsqueeze(1).expand(count, candidates, length).reshape(-1, length)
            state = first_step_hidden(self.backbone, embeds.view(-1, length, width), mask.long())
            states.append(state.view(count, candidates, width))
        if len(calls) == 1:
            return states[0]
        return torch.cat(states)[torch.argsort(torch.cat(calls))]

    def encode(self, batch: Batch) -> Encoded:
        """C_u and S_u of the batch's histories (Eq. 5, 6), and both vectors of its candidates."""
        read = self.reading(batch, self.text.bags)
        cf = semantic = None
        if self.cf_view is not None:
            cf = self.cf_view.encode(self.cf.for_batch(read), read.batch)
        if self.semantic_view is not None:
            semantic = self.semantic_view.encode(self._semantic_items(read), read.batch)
        return Encoded(cf, semantic)

    def _semantic_items(self, read: ReadBatch) -> ItemVectors:
        """s_i of the batch's items (§5.1.1)."""
        if self.text_table is not None:
            return ItemVectors(self.text_table[read.batch.items])
        vectors = pool_read_text(self.backbone.shared, self.text.bags, read)
        return ItemVectors(self.item_embedding(vectors, read.batch.items, read.cold))

    def backbone_calls(self, batch: Batch) -> list[Tensor]:
        """Row groups, one per call of the backbone: all rows together, or one task after the other.

        A recommendation prompt has no query. On a CPU, padding it to the length of search prompts costs more than a
        second call. A GPU is faster with one large call whose size does not change from batch to batch.
        """
        tasks = [rows for task in (0, 1) if len(rows := torch.nonzero(batch.task == task).squeeze(1))]
        if len(tasks) > 1:
            longest = [self.text.longest(batch.query[rows]) for rows in tasks]
            apart = sum(len(rows) * length for rows, length in zip(tasks, longest, strict=True))
            if len(batch.task) * max(longest) <= apart * PADDING.get(batch.task.device.type, 1.0):
                return [torch.arange(len(batch.task), device=batch.task.device)]
        return tasks

    def prompt(self, batch: Batch, encoded: Encoded, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 9 for some rows (R,): embeddings (R, C, L, d_model) with the slots filled, and their mask (R, L)."""
        prompts = self.text.prompts(batch.query[rows])
        slots = self._slots(encoded.take(rows), prompts)
        if prompts.slots.shape[1] != len(slots):
            raise ConfigError(
                f"the prompts have {prompts.slots.shape[1]} placeholders, but {type(self).__name__} "
                f"fills {len(slots)}. Encode the prompts with the configuration of this model."
            )
        words = self.backbone.shared(prompts.ids)  # (R, L, d_model)
        candidates = max(slot.shape[1] for slot in slots if slot is not None)
        embeds = words.unsqueeze(1).repeat(1, candidates, 1, 1)  # (R, C, L, d_model)
        row = torch.arange(len(rows), device=words.device)
        for place, slot in zip(prompts.slots.T, slots, strict=True):
            if slot is not None:
                # Advanced indices around a slice put the batch axis first: (R, C, d_model); bf16 under autocast.
                embeds[row, :, place] = slot.to(embeds.dtype)
        mask = torch.arange(words.shape[1], device=words.device) < prompts.length.unsqueeze(1)
        return embeds, mask

    @abstractmethod
    def _slots(self, encoded: Encoded, prompts: PromptTable) -> list[Tensor | None]:
        """The vectors of each placeholder of R prompts, (R, C, d_model). None for a view that the config leaves out."""

    @torch.no_grad()
    def precompute_items(self) -> None:
        """Compute the vectors of all items once, for serving. Weights, texts and catalogue must not change later."""
        if self.config.semantic_view:
            self.text_table = self._semantic_items(self._every_item()).rows
        self.item_means = self._item_means()

    def attribution(self, batch: Batch) -> Attribution:
        """The filters' weights, and for each view the score less the score with its placeholders replaced.

        The view then reads an empty history, and the mean item of the catalogue as candidate. All else stays.
        """
        encoded, means = self.encode(batch), self.item_means or self._item_means()
        known = {place: mean for place, mean in enumerate(means) if mean is not None}
        variants = [encoded, *(encoded.neutral(place, mean) for place, mean in known.items())]
        # One call for all of them: the rows of the batch, then the same rows with one view replaced.
        rows = Batch(batch.items, *(torch.cat([field] * len(variants)) for field in batch[1:]))
        score, *others = self.explained_score(rows, Encoded.concatenate(variants)).chunk(len(variants))
        parts = {place: score - other for place, other in zip(known, others, strict=True)}
        return Attribution(self._weights(encoded), (parts.get(0), parts.get(1)))

    @abstractmethod
    def explained_score(self, batch: Batch, encoded: Encoded) -> Tensor:
        """(B, C) the score that ``attribution`` takes apart, on the scale of logits or log-probabilities."""

    def _weights(self, encoded: Encoded) -> tuple[Tensor | None, Tensor | None]:
        cf, semantic = (
            None if view is None or read is None else view.weights(read)
            for view, read in zip((self.cf_view, self.semantic_view), encoded, strict=True)
        )
        return cf, semantic

    def _item_means(self) -> tuple[Tensor | None, Tensor | None]:
        """(d,) the mean vector of all items in each view."""
        read = self._every_item()
        cf = self.cf.for_batch(read).rows.mean(dim=0) if self.config.cf_view else None
        return cf, self._semantic_items(read).rows.mean(dim=0) if self.config.semantic_view else None

    def _every_item(self) -> ReadBatch:
        return ReadBatch.of_items(torch.arange(len(self.cf.table), device=self.cf.table.device))

    def task_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean answer loss of the recommendation rows and of the search rows, before any weighting (§6.5)."""
        rows = self.row_losses(batch).mean(dim=1)
        return rows[batch.task == 0].mean(), rows[batch.task == 1].mean()

    def conflict_parameters(self) -> list[nn.Parameter]:
        """The self-attention of the encoder's last block. §6.5 compares its task gradients."""
        last: nn.Module = list(self.backbone.encoder.block)[-1]
        return list(last.get_submodule("layer.0.SelfAttention").parameters())

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: item i is row ``rows[i]`` of training, or unknown (-1)."""
        self.cf.select(rows)
        self.item_embedding.select(rows)


class GenSR(DualViewT5):
    """The model of Figure 2: does the user like this candidate, Yes or No?

    Args:
        answers: token ids of No and Yes.
    """

    scores_in_bf16 = True  # ``_margin`` stays in fp32

    def __init__(
        self,
        config: ModelConfig,
        backbone: T5ForConditionalGeneration,
        cf: CFTable,
        text: TextBuffers,
        answers: tuple[int, int],
    ) -> None:
        super().__init__(config, backbone, cf, text)
        with_query = config.departures.query_interaction and config.semantic_view
        self.query_interaction = QueryProduct(backbone.model_dim) if with_query else Unchanged()
        self.answers: Tensor
        self.register_buffer("answers", torch.tensor(answers), persistent=False)

    def score(self, batch: Batch) -> Tensor:
        """(B, C) z_yes − z_no: constrained generation renormalised over the two answers; σ(score) = P(Yes)."""
        return self._margin(self.hidden(batch))

    def explained_score(self, batch: Batch, encoded: Encoded) -> Tensor:
        """(B, C) z_yes − z_no, as ``score`` has it."""
        return self._margin(self.hidden(batch, encoded))

    def _margin(self, hidden: Tensor) -> Tensor:
        no, yes = self.backbone.lm_head.weight[self.answers]
        # In fp32 also under autocast: bf16 would round the last sum to 8 bits, so that different candidates tie.
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ (yes - no).float()

    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, C) negative log-likelihood of the answer (Eq. 12): Yes in column 0, No in the others.

        With ``answer_loss: listwise`` (B, 1): −log of the probability that column 0 is the positive.
        """
        hidden = self.hidden(batch, encoded)
        if self.config.answer_loss == "listwise":
            return listwise_loss(self._margin(hidden)).unsqueeze(1)
        if self.config.answer_loss == "yes_no":
            return binary_cross_entropy(self._margin(hidden))
        label = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        label[:, 0] = 1
        logits = self.backbone.lm_head(hidden)  # (B, C, V)
        answers = self.answers[label]  # (B, C) token ids
        return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view_as(label)

    def _slots(self, encoded: Encoded, prompts: PromptTable) -> list[Tensor | None]:
        """C_u^filter, S_u^filter, e_{i_c} and s_{i_c} of Eq. 9, each (R, C, d_model)."""
        history_cf = history_text = candidate_cf = candidate_text = None
        if self.cf_view is not None and encoded.cf is not None:
            history_cf, candidate_cf = self.cf_view.slots(*encoded.cf)
        if self.semantic_view is not None and encoded.semantic is not None:
            history_text, candidate_text = self.semantic_view.slots(*encoded.semantic)
            candidate_text = self.query_interaction(
                candidate_text, encoded.semantic.candidates, self.backbone.shared, prompts
            )
        return [history_cf, history_text, candidate_cf, candidate_text]
