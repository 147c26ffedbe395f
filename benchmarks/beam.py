"""Constrained beam search over 100,000 items, against Hugging Face's `generate` with `prefix_allowed_tokens_fn`.

Model, beams, items and scores are the same. Hugging Face calls its hook once per beam and step. Here the hook looks up
ready-made index tensors in a dictionary, its fastest form. Lists, the documented form, are measured too.
``outside_decoder`` is our share of time outside the T5's own steps: the median of 50 searches.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.common import seconds, tell
from gensr_model.decoding.beam import Beams, CachedDecoder, beam_search
from gensr_model.decoding.trie import build

ITEMS, BEAMS, USERS, WORDS, CODES, LENGTH = 100_000, 20, 8, 2_000, 256, 4
Answers = dict[tuple[int, ...], Tensor] | dict[tuple[int, ...], list[int]]


def small_t5(vocabulary: int) -> T5ForConditionalGeneration:
    """The laptop preset's shape, with weights far enough from uniform that no two scores are close."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary, d_model=64, d_kv=16, d_ff=256, num_layers=2, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def allowed_after(ids: np.ndarray) -> dict[tuple[int, ...], Tensor]:
    """The tokens that may follow every prefix of the ids (I, L)."""
    out: dict[tuple[int, ...], Tensor] = {}
    for length in range(ids.shape[1]):
        prefixes = np.unique(ids[:, : length + 1], axis=0)
        starts = np.flatnonzero(np.append(True, (prefixes[1:, :length] != prefixes[:-1, :length]).any(axis=1)))
        for rows in np.split(prefixes, starts[1:]):
            out[tuple(rows[0, :length].tolist())] = torch.from_numpy(rows[:, length].copy())
    return out


def hugging_face(
    model: T5ForConditionalGeneration, encoded: Tensor, allowed: Answers, ids: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Token ids (U, k, L) and scores (U, k)."""
    nothing = torch.zeros(1, dtype=torch.long)  # for the beams that do not exist yet
    beams = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
        attention_mask=torch.ones(encoded.shape[:2], dtype=torch.long),
        prefix_allowed_tokens_fn=lambda _, sent: allowed.get(tuple(sent[1:].tolist()), nothing),
        num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=ids.shape[1], length_penalty=0.0,
        do_sample=False, output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    return beams.sequences[:, 1:].view(USERS, BEAMS, -1), beams.sequences_scores.view(USERS, BEAMS)


class TimedDecoder(CachedDecoder):
    """A decoder that adds up the seconds of its steps."""

    seconds = 0.0

    def _step(self, token: Tensor) -> Tensor:
        begun = time.perf_counter()
        logits = super()._step(token)
        self.seconds += time.perf_counter() - begun
        return logits


def outside_decoder(model: T5ForConditionalGeneration, encoded: Tensor, mask: Tensor, trie: Any) -> float:
    """The median share of a search's time outside its decoder."""
    shares = []
    for _ in range(50):
        decoder, begun = TimedDecoder(model, encoded, mask), time.perf_counter()
        beam_search(decoder, trie, BEAMS)
        shares.append(1 - decoder.seconds / (time.perf_counter() - begun))
    return statistics.median(shares)


def measure(ids: np.ndarray, vocabulary: int) -> dict[str, float]:
    """Seconds for one batch of users with both methods, after a check that both give the same answer."""
    model, trie, allowed = small_t5(vocabulary), build(ids), allowed_after(ids)
    lists = {prefix: tokens.tolist() for prefix, tokens in allowed.items()}
    encoded = torch.randn(USERS, 16, 64, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(USERS, 16, dtype=torch.long)

    def ours() -> Beams:
        return beam_search(CachedDecoder(model, encoded, mask), trie, BEAMS)

    with torch.inference_mode():
        beams, (tokens, scores) = ours(), hugging_face(model, encoded, allowed, ids)
        assert torch.equal(torch.from_numpy(ids)[beams.items], tokens)
        torch.testing.assert_close(beams.scores, scores, atol=1e-3, rtol=1e-4)
        return {
            "ours_s": seconds(ours),
            "tensors_s": seconds(lambda: hugging_face(model, encoded, allowed, ids), repeat=2),
            "lists_s": seconds(lambda: hugging_face(model, encoded, lists, ids), repeat=1),
            "tree_s": seconds(lambda: build(ids), repeat=1),
            "outside_decoder": outside_decoder(model, encoded, mask, trie),
        }


def main() -> None:
    one = measure(WORDS + np.arange(ITEMS)[:, None], WORDS + ITEMS)
    rng = np.random.default_rng(0)
    drawn = np.unique(rng.integers(CODES, size=(2 * ITEMS, LENGTH)), axis=0)
    codes = rng.permutation(drawn)[:ITEMS] + WORDS + CODES * np.arange(LENGTH)
    four = measure(codes, WORDS + CODES * LENGTH)
    for name, timings in (("one token per item", one), (f"{LENGTH} tokens per item", four)):
        print(f"{name}: {', '.join(f'{key} {value:.4f}' for key, value in timings.items())}")
    tell(
        "constrained beam search, 100,000 one-token items, against generate with prefix_allowed_tokens_fn",
        one["ours_s"],
        one["tensors_s"],
        items=ITEMS, beams=BEAMS, users=USERS,
        speedup_against_lists=round(one["lists_s"] / one["ours_s"], 2),
        speedup_four_tokens=round(four["tensors_s"] / four["ours_s"], 2),
        outside_decoder_four_tokens=round(four["outside_decoder"], 3),
    )  # fmt: skip


if __name__ == "__main__":
    main()
