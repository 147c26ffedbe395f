"""GenSR over the whole catalogue (§6.3), without candidates and soft filter: it generates an item's token."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.data.text import PromptTable
from gensr_model.decoding.beam import Beams, CachedDecoder, beam_search
from gensr_model.decoding.trie import build
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.gensr import DualViewT5, Encoded
from gensr_model.models.losses import catalogue_ce
from gensr_model.models.text_pooling import TextBuffers, masked_mean
from gensr_model.models.views import EncodedView, View


class FullRanking(DualViewT5):
    """GenSR whose prompt holds only the history, as the mean of each encoded view. The answer is one item token.

    The loss is the likelihood of the item among all items. Other tokens of the vocabulary are no possible answer, so
    the softmax leaves them out, in training and in ``catalogue_scores``.

    Args:
        config: its soft filter must be off.
        backbone: its vocabulary ends with the item tokens.
        first_item: id of the token of item 0.
    """

    def __init__(
        self,
        config: ModelConfig,
        full: FullRankingConfig,
        backbone: T5ForConditionalGeneration,
        cf: CFTable,
        text: TextBuffers,
        first_item: int,
    ) -> None:
        assert not config.soft_filter
        super().__init__(config, backbone, cf, text)
        self.full, self.first_item = full, first_item
        self.known: Tensor  # (I,) the place of an item among the items' tokens, −1 for an item without one
        places = torch.arange(backbone.lm_head.out_features - first_item)
        self.register_buffer("known", places, persistent=False)

    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, 1) −log p(positive) among all items, or among drawn items in a catalogue above ``sampled_above``."""
        target = batch.items[batch.candidates[:, 0]]
        full, state = self.full, self.decoder_state(batch, encoded)
        loss = catalogue_ce(state, self._item_rows, target, full.sampled_above, full.sampled_items)
        return loss.unsqueeze(1)

    def score(self, batch: Batch) -> Tensor:
        """(B, C) logits of the candidates' tokens. −∞ for an item without a token."""
        place = self.known[batch.items[batch.candidates]]
        logits = torch.einsum("bd,bcd->bc", self.decoder_state(batch), self._item_rows[place.clamp(min=0)])
        return logits.masked_fill(place < 0, -torch.inf)

    def catalogue_scores(self, batch: Batch) -> Tensor:
        """(B, I) logits of every item. −∞ for an item without a token. The batch's candidates have no effect."""
        return self._logits(self.decoder_state(batch))

    def explained_score(self, batch: Batch, encoded: Encoded) -> Tensor:
        """(B, C) log-probabilities among all items. A logit alone has no scale, as the softmax ignores a common part.

        The prompt has one placeholder for each view, so ``attribution`` replaces the history alone.
        """
        chances = self._logits(self.decoder_state(batch, encoded)).log_softmax(dim=1)
        return chances.gather(1, batch.items[batch.candidates])

    def _logits(self, state: Tensor) -> Tensor:
        logits = state @ self._item_rows.T
        return logits[:, self.known.clamp(min=0)].masked_fill(self.known < 0, -torch.inf)

    def decoder_state(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        return self.hidden(batch, encoded).squeeze(1)  # (B, d_model)

    @property
    def _item_rows(self) -> Tensor:
        """(J, d_model) the rows of the output matrix for the items of training."""
        return self.backbone.lm_head.weight[self.first_item :]

    @torch.inference_mode()
    def generate(self, batch: Batch, beams: int) -> Beams:
        """The ``beams`` best items by constrained beam search, best first. Scores are log-probabilities.

        With one token per item the search is exact and gives the order of ``catalogue_scores``.
        """
        device = self.known.device
        items = torch.nonzero(self.known >= 0).squeeze(1)
        trie = build((self.first_item + self.known[items]).unsqueeze(1).cpu().numpy()).to(device)
        everyone = torch.arange(len(batch.task), device=device)
        embeds, mask = self.prompt(batch, self.encode(batch), everyone)
        states = self.backbone.encoder(inputs_embeds=embeds[:, 0], attention_mask=mask.long())
        best = beam_search(CachedDecoder(self.backbone, states.last_hidden_state, mask.long()), trie, beams)
        return Beams(items[best.items.clamp(min=0)].masked_fill(best.items < 0, -1), best.scores)

    def _slots(self, encoded: Encoded, prompts: PromptTable) -> list[Tensor | None]:
        """Two placeholders (R, 1, d_model), the means of C_u and S_u. There is none for a candidate."""
        return [_mean_slot(self.cf_view, encoded.cf), _mean_slot(self.semantic_view, encoded.semantic)]

    def select(self, rows: Tensor) -> None:
        """Switch to another catalogue: its item i is item ``rows[i]`` of training, or unknown (−1)."""
        super().select(rows)
        self.known = self.known[rows.clamp(min=0)].masked_fill(rows < 0, -1)


def _mean_slot(view: View | None, encoded: EncodedView | None) -> Tensor | None:
    if view is None or encoded is None:
        return None
    slot: Tensor = view.project(masked_mean(encoded.history, encoded.mask))
    return slot.unsqueeze(1)
