"""GenSR over the whole catalogue (§6.3): no candidate and no soft filter; the model generates the item's own token."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5ForConditionalGeneration

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.data.batches import Batch
from gensr_model.decoding.beam import Beams, CachedDecoder, beam_search
from gensr_model.decoding.trie import build
from gensr_model.errors import ConfigError
from gensr_model.models.gensr import DualViewT5, Encoded, TextBuffers
from gensr_model.models.views import CFTable, masked_mean


class FullRanking(DualViewT5):
    """The prompt holds the history alone: the mean of each encoded view. The answer is one token, an item's.

    Trained by the likelihood of the item among all items; the vocabulary's other tokens are no possible answer and
    are left out of the softmax, in training and in ``catalogue_scores``.

    Args:
        config: its soft filter must be off.
        backbone: its vocabulary ends with the items' tokens.
        first_item: id of the token of item 0.
    """

    def __init__(
        self,
        config: ModelConfig,
        full: FullRankingConfig,
        backbone: T5ForConditionalGeneration,
        cf: CFTable,
        catalogue: TextBuffers,
        first_item: int,
    ) -> None:
        assert not config.soft_filter
        super().__init__(config, backbone, cf, catalogue)
        self.full, self.first_item = full, first_item
        self.known: Tensor  # (I,) the place of an item among the items' tokens, −1 for an item without one
        places = torch.arange(backbone.lm_head.out_features - first_item)
        self.register_buffer("known", places, persistent=False)

    def select(self, rows: Tensor) -> None:
        """Rank another catalogue: its item i is item ``rows[i]`` of training, −1 where training had no such item."""
        super().select(rows)
        self.known = self.known[rows.clamp(min=0)].masked_fill(rows < 0, -1)

    # --- history to state ----------------------------------------------------------------------------------------

    def _prompt(self, batch: Batch, encoded: Encoded, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 9 without candidates: embeddings (R, 1, L, d_model) with two slots filled, and their mask (R, L)."""
        prompts = self.catalogue.prompts(batch.query[rows])
        if prompts.slots.shape[1] != 2:
            raise ConfigError(
                "full ranking got prompts with candidates; encode them with its own configuration"
            )
        embeds = self.backbone.shared(prompts.ids)
        row = torch.arange(len(rows), device=embeds.device)
        for number, of in enumerate(encoded):
            if of is None:
                continue
            slot = of.view.project(masked_mean(of.history[rows], batch.history_mask[rows]))
            embeds = embeds.index_put((row, prompts.slots[:, number]), slot.to(embeds.dtype))
        mask = torch.arange(embeds.shape[1], device=embeds.device) < prompts.length.unsqueeze(1)
        return embeds.unsqueeze(1), mask

    def _state(self, batch: Batch, encoded: Encoded) -> Tensor:
        return self._hidden(batch, encoded).squeeze(1)  # (B, d_model)

    @property
    def _item_rows(self) -> Tensor:
        """(J, d_model) the rows of the output matrix that belong to the items of training."""
        return self.backbone.lm_head.weight[self.first_item :]

    # --- loss ----------------------------------------------------------------------------------------------------

    def row_losses(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """(B, 1) −log p(positive) among all items, or among drawn ones in a catalogue above ``sampled_above``."""
        state = self._state(batch, self._encode(batch) if encoded is None else encoded)
        target = batch.items[batch.candidates[:, 0]]
        if len(self._item_rows) <= self.full.sampled_above:
            loss = F.cross_entropy(state @ self._item_rows.T, target, reduction="none")
        else:
            loss = sampled_cross_entropy(state, self._item_rows, target, self.full.sampled_items)
        return loss.unsqueeze(1)

    # --- scores --------------------------------------------------------------------------------------------------

    def score(self, batch: Batch) -> Tensor:
        """(B, C) logits of the candidates' tokens; −∞ for an item that has none."""
        state = self._state(batch, self._encode(batch))
        place = self.known[batch.items[batch.candidates]]
        logits = torch.einsum("bd,bcd->bc", state, self._item_rows[place.clamp(min=0)])
        return logits.masked_fill(place < 0, -torch.inf)

    def catalogue_scores(self, batch: Batch) -> Tensor:
        """(B, I) logits of every item; −∞ for an item without a token. The candidates of the batch are not read."""
        logits = self._state(batch, self._encode(batch)) @ self._item_rows.T
        return logits[:, self.known.clamp(min=0)].masked_fill(self.known < 0, -torch.inf)

    @torch.inference_mode()
    def generate(self, batch: Batch, beams: int) -> Beams:
        """The ``beams`` best items by constrained beam search, best first; scores are log-probabilities.

        With one token per item it is exact, and gives the order of ``catalogue_scores``.
        """
        device = self.known.device
        items = torch.nonzero(self.known >= 0).squeeze(1)
        trie = build((self.first_item + self.known[items]).unsqueeze(1).cpu().numpy()).to(device)
        everyone = torch.arange(len(batch.task), device=device)
        embeds, mask = self._prompt(batch, self._encode(batch), everyone)
        states = self.backbone.encoder(inputs_embeds=embeds[:, 0], attention_mask=mask.long())
        found = beam_search(CachedDecoder(self.backbone, states.last_hidden_state, mask.long()), trie, beams)
        return Beams(items[found.items.clamp(min=0)].masked_fill(found.items < 0, -1), found.scores)


def sampled_cross_entropy(state: Tensor, rows: Tensor, target: Tensor, count: int) -> Tensor:
    """(B,) estimate of the cross-entropy over all J ``rows`` from ``count`` of them, drawn uniformly for the batch.

    A drawn row stands for J / count rows, so its logit grows by log(J / count); a row that is a sample's own target
    is left out for that sample (Jean et al. 2015).

    Args:
        state: (B, d); rows: (J, d); target: (B,) row of each sample.
    """
    drawn = torch.randint(len(rows), (count,), device=state.device)
    others = state @ rows[drawn].T + math.log(len(rows) / count)  # (B, count)
    others = others.masked_fill(drawn == target.unsqueeze(1), -torch.inf)
    own = (state * rows[target]).sum(dim=1, keepdim=True)
    return torch.logsumexp(torch.cat([own, others], dim=1), dim=1) - own.squeeze(1)
