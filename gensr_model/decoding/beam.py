"""Constrained beam search (§6.3) over all users, beams and valid continuations at once.

A score is log p(token) summed over the id. p is the softmax over the *whole* vocabulary, not renormalised over the
valid tokens. Hugging Face's ``generate(num_beams=k, prefix_allowed_tokens_fn=…, length_penalty=0.0)`` calls this
``sequences_scores``, and its beams are the same.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.cache_utils import EncoderDecoderCache

from gensr_model.decoding.trie import TokenTrie


class Beams(NamedTuple):
    """The best k items of U users, best first. −1 and −∞ where the search ended with fewer."""

    items: Tensor  # (U, k) rows of the ids from which the tree was built
    scores: Tensor  # (U, k) log-probabilities


class Decoder(Protocol):
    """What beam search needs of a model: logits, one token at a time, for rows whose state the decoder stores."""

    def start(self) -> Tensor:
        """Logits (U, V) of the first token."""

    def advance(self, source: Tensor, token: Tensor) -> Tensor:
        """Logits (U·k, V) after each of ``token`` (U, k), which continues row ``source`` (U, k) of the last step."""


class CachedDecoder:
    """The decoder of a T5, one token at a time, over encoder states that are computed once per user.

    Args:
        encoded: (U, S, d_model) encoder states; mask: (U, S), 0 at padding.
    """

    def __init__(self, model: T5ForConditionalGeneration, encoded: Tensor, mask: Tensor) -> None:
        self.model, self.encoded, self.mask = model, encoded, mask
        self.cache: EncoderDecoderCache | None = None

    def start(self) -> Tensor:
        """See ``Decoder``."""
        begin = self.model.config.decoder_start_token_id
        return self._step(self.encoded.new_full((len(self.encoded), 1), begin, dtype=torch.long))

    def advance(self, source: Tensor, token: Tensor) -> Tensor:
        """See ``Decoder``. A beam never leaves its user, so the keys of the encoder states are copied once."""
        assert self.cache is not None
        rows = source.flatten()
        self.cache.self_attention_cache.batch_select_indices(rows)
        if len(rows) != len(self.mask):
            self.cache.cross_attention_cache.batch_select_indices(rows)
            self.mask = self.mask[rows]
            # Only the first step reads the encoder states. Later steps have their keys and need only their shape.
            self.encoded = self.encoded[:1].expand(len(rows), -1, -1)
        return self._step(token.reshape(-1, 1))

    def _step(self, token: Tensor) -> Tensor:
        out = self.model.decoder(
            input_ids=token,
            encoder_hidden_states=self.encoded,
            encoder_attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = out.past_key_values
        hidden = out.last_hidden_state[:, 0]
        if self.model.config.scale_decoder_outputs:
            hidden = hidden * self.model.model_dim**-0.5
        return self.model.lm_head(hidden).float()


@torch.inference_mode()
def beam_search(decoder: Decoder, trie: TokenTrie, beams: int) -> Beams:
    """The ``beams`` best ids per user that a beam of this width reaches.

    Memory is twice that of the logits, (U·k, V). Where this is too much, search for fewer users at a time.
    """
    log_p = decoder.start().log_softmax(dim=1)  # (U, V)
    users, device = len(log_p), log_p.device
    begin, end = int(trie.first[0]), int(trie.first[1])
    child = torch.arange(begin, end, device=device).expand(users, -1)
    # A one-token id ends here: the rows of its items, and the best of them.
    ended, live = _select(_of_tokens(log_p, trie.token[begin:end]), child, None, trie, beams)
    best = Beams(ended.item, ended.score)
    for _ in range(trie.depth - 1):
        if not trie.children(live.node).any():
            break
        user = torch.arange(users, device=device).unsqueeze(1)
        source = live.beam + user * (len(log_p) // users)
        log_p = decoder.advance(source, trie.token[live.node]).log_softmax(dim=1)
        beam, child, valid = _continuations(trie, live.node)
        place = beam * log_p.shape[1] + trie.token.take(child)
        scores = log_p.view(users, -1).gather(1, place) + live.score.gather(1, beam)
        ended, live = _select(scores.masked_fill(~valid, -torch.inf), child, beam, trie, beams)
        best = _best(best, ended, beams)
    return _best(best, None, beams)


def _of_tokens(log_p: Tensor, tokens: Tensor) -> Tensor:
    """Columns (U, n) of ascending tokens: without a copy where none is left out between first and last."""
    first, last = int(tokens[0]), int(tokens[-1])
    return log_p[:, first : last + 1] if last - first + 1 == len(tokens) else log_p[:, tokens]


class _Paths(NamedTuple):
    """Hypotheses (U, ≤ k): the parent beam, the node, the item where the hypothesis ended, and the score."""

    beam: Tensor
    node: Tensor
    item: Tensor
    score: Tensor


def _continuations(trie: TokenTrie, node: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All children of the beams' nodes (U, k), beam by beam: their beam, their node and whether they are real.

    Each is (U, W), where W is the number of children of the user with most.
    """
    users, beams = node.shape
    count = trie.children(node)
    end = count.cumsum(dim=1)
    place = torch.arange(int(end[:, -1].max()), device=node.device)
    filled = torch.cat([count[:, :-1], len(place) - end[:, -1:] + count[:, -1:]], dim=1)  # the last beam's, up to W
    beam = torch.arange(beams, device=node.device).repeat(users).repeat_interleave(filled.flatten()).view(users, -1)
    child = (trie.first[node] - (end - count)).gather(1, beam) + place
    valid = place < end[:, -1:]
    return beam, child.masked_fill_(~valid, 0), valid


def _select(scores: Tensor, child: Tensor, beam: Tensor | None, trie: TokenTrie, beams: int) -> tuple[_Paths, _Paths]:
    """From the continuations (U, W): the ended ones among the best k, and the best k that go on.

    The search considers 2k continuations, as Hugging Face does, so that k can go on where k end. A missing beam is at a
    leaf with score −∞, where it has no children.
    """
    score, place = scores.topk(min(2 * beams, scores.shape[1]), dim=1)
    node = child.gather(1, place)
    came = torch.zeros_like(node) if beam is None else beam.gather(1, place)
    item = trie.item[node].masked_fill(score.isneginf(), -1)
    ended = item >= 0
    top = _Paths(came, node, item, score.masked_fill(~ended, -torch.inf))
    running, order = score.masked_fill(ended, -torch.inf).topk(min(beams, score.shape[1]), dim=1)
    leaf = len(trie.item) - 1  # the last node of the deepest level
    live_node = node.gather(1, order).masked_fill(running.isneginf(), leaf)
    live = _Paths(came.gather(1, order), live_node, item.gather(1, order), running)
    return _Paths(*(field[:, :beams] for field in top)), live


def _best(known: Beams, ended: _Paths | None, beams: int) -> Beams:
    """The best k ids of those known and those that just ended."""
    items, scores = known
    if ended is not None:
        items, scores = torch.cat([items, ended.item], dim=1), torch.cat([scores, ended.score], dim=1)
    scores, order = scores.topk(min(beams, scores.shape[1]), dim=1)
    items = items.gather(1, order)
    missing = beams - scores.shape[1]
    if missing > 0:
        items = torch.nn.functional.pad(items, (0, missing), value=-1)
        scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    return Beams(items.masked_fill(scores.isneginf(), -1), scores)
