"""Shared parts of the generative baselines: a small T5, its token sequences, and the ids of items.

A generator ranks an item by s(i) = Σ_l log p(y_l | y_<l, x) of its id y. Among 100 candidates all are scored. Over the
catalogue a beam finds the best items, or every id is scored where that is affordable.
"""

from __future__ import annotations

import re
from abc import abstractmethod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from gensr_model.baselines.base import Baseline
from gensr_model.baselines.inputs import BaselineBatch
from gensr_model.data.prepared import IntArray
from gensr_model.decoding.beam import Beams, CachedDecoder, Decoder, beam_search
from gensr_model.decoding.likelihood import RestrictedDecoder, candidate_scores
from gensr_model.decoding.trie import build
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.semantic_ids.codes import numbered

PAD = 0  # token of padding, and the decoder's first input
_ROWS = 4_096  # ids scored in one call: bounds memory, changes no score


def small_t5(
    vocabulary: int, dim: int, layers: int, decoder_layers: int, dropout: float, heads: int = 4
) -> T5ForConditionalGeneration:
    """A T5 with tied embeddings and new weights. Token vectors start with a standard deviation of .02."""
    config = T5Config(
        vocab_size=vocabulary, d_model=dim, d_kv=dim // heads, d_ff=4 * dim, num_heads=heads, num_layers=layers,
        num_decoder_layers=decoder_layers, dropout_rate=dropout, pad_token_id=PAD, eos_token_id=None,
    )  # fmt: skip
    config.decoder_start_token_id = PAD
    model = T5ForConditionalGeneration(config)
    nn.init.normal_(model.shared.weight, std=0.02)
    return model


def attend_to_one_place(t5: T5ForConditionalGeneration) -> None:
    """Freeze the self-attention of a decoder that reads one token, where attention has no choice."""
    for name, weight in t5.decoder.named_parameters():
        if re.search(r"SelfAttention\.(q|k|relative_attention_bias)\.", name):
            weight.requires_grad_(False)


def side_by_side(parts: list[Tensor]) -> Tensor:
    """Tokens (B, W) each, 0 at padding → (B, ΣW): the parts of a row in order.

    All padding moves to the left of the row, so the distance between two tokens never depends on other rows.
    """
    tokens = torch.cat(parts, dim=1)
    order = (tokens != PAD).long().argsort(dim=1, stable=True)
    moved = tokens.gather(1, order)
    longest = max(1, int((tokens != PAD).sum(dim=1).max()))
    return moved[:, -longest:]


def random_codes(items: int, codes: int, levels: int, seed: int = 0) -> IntArray:
    """(items, levels) codes without information about items: random codes, and a running number as the last one."""
    drawn = np.random.default_rng(seed).integers(codes, size=(items, levels - 1))
    return numbered(drawn)


class Generator(Baseline):
    """A baseline that generates the id of an item token by token.

    A subclass fills the buffers ``ids`` and ``id_lengths``, which are saved with the weights.
    """

    t5: T5ForConditionalGeneration
    ids: Tensor  # (I, L) tokens of each item's id
    id_lengths: Tensor  # (I,)

    @abstractmethod
    def prompt(self, batch: BaselineBatch) -> Tensor:
        """(B, S) tokens that the encoder reads, 0 at padding."""

    def set_ids(self, ids: Tensor, lengths: Tensor | None = None) -> None:
        """Register the ids (I, L) of the items. Without ``lengths`` (I,) each id has all L tokens."""
        self.register_buffer("ids", ids)
        self.register_buffer("id_lengths", torch.full((len(ids),), ids.shape[1]) if lengths is None else lengths)

    def encode(self, batch: BaselineBatch) -> tuple[Tensor, Tensor]:
        """Encoder states (B, S, d) and the mask (B, S)."""
        return self.read(self.prompt(batch))

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) tokens, 0 at padding → encoder states (B, S, d) and the mask (B, S)."""
        mask = (tokens != PAD).long()
        return self.t5.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state, mask

    def allowed(self) -> Tensor:
        """(L, V) the tokens that an id may have at each place."""
        depth = self.ids.shape[1]
        allowed = torch.zeros(depth, self.t5.config.vocab_size, dtype=torch.bool, device=self.ids.device)
        item, place = torch.nonzero(torch.arange(depth, device=self.ids.device) < self.id_lengths.unsqueeze(1)).T
        allowed[place, self.ids[item, place]] = True
        return allowed

    def decoder(self, batch: BaselineBatch) -> Decoder:
        """The decoder of a batch's ids. Its softmax covers only tokens that an id may have, as in training."""
        return RestrictedDecoder(CachedDecoder(self.t5, *self.encode(batch)), self.allowed())

    def decoder_states(self, tokens: Tensor, known: Tensor) -> Tensor:
        """(B, S) encoder tokens and (B, L) decoder tokens → (B, L, d_model), scaled for the head."""
        states, mask = self.read(tokens)
        hidden: Tensor = self.t5.decoder(
            input_ids=known, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        ).last_hidden_state
        return hidden * self.t5.model_dim**-0.5 if self.t5.config.scale_decoder_outputs else hidden

    def id_loss(self, batch: BaselineBatch) -> Tensor:
        """(B,) −log-likelihood of the positive's id."""
        answer, length = self.ids[batch.candidates[:, 0]], self.id_lengths[batch.candidates[:, 0]]
        known = torch.cat([torch.full_like(answer[:, :1], PAD), answer[:, :-1]], dim=1)
        logits: Tensor = self.t5.lm_head(self.decoder_states(self.prompt(batch), known))  # (B, L, V)
        logits = logits.float().masked_fill(~self.allowed(), -torch.inf)
        each = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), reduction="none").view_as(answer)
        inside = torch.arange(answer.shape[1], device=answer.device) < length.unsqueeze(1)
        return each.masked_fill(~inside, 0.0).sum(dim=1)

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({"id": self.id_loss(batch)})

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) log-likelihood of the candidates' ids."""
        return self.likelihood(batch)

    def likelihood(self, batch: BaselineBatch) -> Tensor:
        """(B, C) Σ_l log p(y_l | y_<l, x) of the candidates' ids."""
        rows = max(1, _ROWS // batch.candidates.shape[1])
        places = torch.arange(len(batch.candidates), device=batch.candidates.device).split(rows)
        parts = (batch.take(place) for place in places)
        return torch.cat(
            [
                candidate_scores(self.decoder(part), self.ids[part.candidates], self.id_lengths[part.candidates])
                for part in parts
            ]
        )

    def catalogue_scores(self, batch: BaselineBatch) -> Tensor:
        """(B, I) log-likelihood of the id of every item."""
        every = torch.arange(len(self.ids), device=self.ids.device)
        return self.likelihood(batch.replace(candidates=every.expand(len(batch.candidates), -1)))

    @torch.inference_mode()
    def generate(self, batch: BaselineBatch, beams: int) -> Beams:
        """The ``beams`` best items of a constrained beam search, best first. −1 where there are fewer."""
        trie = build(self.ids.cpu().numpy(), self.id_lengths.cpu().numpy()).to(self.ids.device)
        return beam_search(self.decoder(batch), trie, beams)
