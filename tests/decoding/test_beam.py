"""Beam search over a tree: as Hugging Face's constrained `generate`, and as scoring every id."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from gensr_model.decoding.beam import Beams, CachedDecoder, beam_search
from gensr_model.decoding.trie import build

USERS, WIDTH, VOCABULARY, EOS = 8, 16, 60, 1


def model(tied: bool = True, decoder_layers: int = 2) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=32, num_heads=2,
        num_layers=2, num_decoder_layers=decoder_layers,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=EOS,
    )  # fmt: skip
    config.tie_word_embeddings = config.scale_decoder_outputs = tied
    made = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5)  # far from uniform, so that beams differ and no two scores are close
    return made


def prompt() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    mask = torch.arange(6) < torch.tensor([6, 3, 5, 1, 6, 2, 4, 6]).unsqueeze(1)
    return torch.randn(USERS, 6, WIDTH, generator=generator), mask.long()


def encode(of: T5ForConditionalGeneration) -> tuple[Tensor, Tensor]:
    embeds, mask = prompt()
    return of.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state, mask


def item_ids(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids (I, L) and their lengths; ragged ones end with the end token."""
    rng = np.random.default_rng(7)
    if kind == "ragged":  # few tokens, so that many of the best continuations are the end
        drawn = {tuple(rng.integers(2, 4, size=rng.integers(1, 6)).tolist()) for _ in range(60)}
        rows = [[*row, EOS] for row in sorted(drawn)]
    else:
        length = int(kind)
        drawn = {tuple(rng.integers(2, 50 if length == 1 else 7, size=length).tolist()) for _ in range(80)}
        rows = [list(row) for row in sorted(drawn)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    lengths = np.array([len(row) for row in rows])
    return np.array([row + [0] * (lengths.max() - len(row)) for row in rows]), lengths


@torch.inference_mode()
def by_hugging_face(of: T5ForConditionalGeneration, ids: np.ndarray, lengths: np.ndarray, beams: int) -> Beams:
    rows = [tuple(row[:n]) for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)]
    allowed: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for row in rows:
        for place, token in enumerate(row):
            allowed[row[:place]].add(token)
    encoded, mask = encode(of)
    result = of.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded), attention_mask=mask, do_sample=False,
        num_beams=beams, num_return_sequences=beams, max_new_tokens=int(lengths.max()), length_penalty=0.0,
        prefix_allowed_tokens_fn=lambda _, sent: sorted(allowed.get(tuple(sent[1:].tolist()), {0})),
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    place = {row: number for number, row in enumerate(rows)}
    items = []
    for sequence in result.sequences[:, 1:].tolist():
        matches = [place[tuple(sequence[:n])] for n in set(lengths) if tuple(sequence[:n]) in place]
        items.append(matches[0] if matches else -1)
    scores = result.sequences_scores.view(USERS, beams)
    missing = scores < -1e8
    return Beams(torch.tensor(items).view(USERS, beams).masked_fill(missing, -1), scores)


@torch.inference_mode()
def likelihood(of: T5ForConditionalGeneration, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
    """(U, I) log-probability of every id, each read in one pass with its own tokens as the decoder's input."""
    encoded, mask = encode(of)
    out = torch.empty(USERS, len(ids))
    for user in range(USERS):
        for number, (row, n) in enumerate(zip(ids, lengths, strict=True)):
            logits = of(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded[user : user + 1]),
                attention_mask=mask[user : user + 1],
                decoder_input_ids=torch.tensor([[0, *row[: n - 1]]]),
            ).logits[0]
            out[user, number] = logits.log_softmax(-1)[torch.arange(n), torch.from_numpy(row[:n])].sum()
    return out


def ours(of: T5ForConditionalGeneration, ids: np.ndarray, lengths: np.ndarray, beams: int) -> Beams:
    with torch.inference_mode():
        return beam_search(CachedDecoder(of, *encode(of)), build(ids, lengths), beams)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("beams", [2, 5])
@pytest.mark.parametrize("kind", ["1", "2", "3", "4", "ragged"])
def test_beams_and_scores_are_those_of_hugging_face(kind: str, beams: int, tied: bool) -> None:
    of, (ids, lengths) = model(tied), item_ids(kind)
    result, expected = ours(of, ids, lengths, beams), by_hugging_face(of, ids, lengths, beams)
    assert (expected.items >= 0).all()
    assert result.items.tolist() == expected.items.tolist()
    torch.testing.assert_close(result.scores, expected.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["1", "2", "3", "ragged"])
def test_a_beam_as_wide_as_the_tree_finds_what_scoring_every_id_finds(kind: str) -> None:
    of, (ids, lengths) = model(), item_ids(kind)
    expected = likelihood(of, ids, lengths).sort(dim=1, descending=True)
    result = ours(of, ids, lengths, len(ids) + 3)
    assert result.items[:, : len(ids)].tolist() == expected.indices.tolist()
    torch.testing.assert_close(result.scores[:, : len(ids)], expected.values, atol=1e-4, rtol=1e-4)
    assert (result.items[:, len(ids) :] == -1).all()
    assert result.scores[:, len(ids) :].isneginf().all()


@pytest.mark.parametrize("decoder_layers", [1, 3])  # Hugging Face wants as many as in the encoder, we do not
def test_a_narrow_beam_gives_the_likelihood_of_the_ids_that_it_finds(decoder_layers: int) -> None:
    of, (ids, lengths) = model(decoder_layers=decoder_layers), item_ids("3")
    result = ours(of, ids, lengths, 4)
    torch.testing.assert_close(
        result.scores, likelihood(of, ids, lengths).gather(1, result.items), atol=1e-4, rtol=1e-4
    )


def test_the_encoder_states_are_never_computed_again() -> None:
    of, (ids, lengths) = model(), item_ids("4")
    encoded, mask = encode(of)
    calls: list[tuple[int, ...]] = []
    for block in of.decoder.block:
        block.layer[1].EncDecAttention.k.register_forward_hook(lambda *a: calls.append(a[1][0].shape))
    with torch.inference_mode():
        beam_search(CachedDecoder(of, encoded, mask), build(ids, lengths), 5)
    assert calls == [(USERS, 6, WIDTH)] * 2  # once per layer, one row per user
