"""The formulas of the recommendation baselines, computed by hand or in another way."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gensr_model.baselines.bert4rec import BERT4Rec
from gensr_model.baselines.din import LocalActivation
from gensr_model.baselines.fmlp_rec import Block, Filter
from gensr_model.baselines.gru4rec import GRU4Rec
from gensr_model.baselines.inputs import BaselineBatch, Domain, History
from gensr_model.models import losses

DOMAIN = Domain(n_items=12, n_users=3, n_words=0, max_history=5)


def history(*rows: list[int]) -> History:
    """Items of each row, padded on the left with item 11, which must not matter."""
    width = max(len(row) for row in rows)
    padded = torch.tensor([[11] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return History(item=padded, mask=mask)


def test_dins_weights_of_two_items_by_hand() -> None:
    """One channel, so that every number can be followed."""
    attend = LocalActivation(dim=1, hidden=(2, 1))
    slopes = [layer for layer in attend.rest if isinstance(layer, nn.PReLU)]
    with torch.no_grad():
        # Columns: v, e, v − e, v ∘ e.
        attend.first.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, -2.0, 1.0]]))
        attend.first.bias.copy_(torch.tensor([0.5, -0.5]))
        attend.rest[1].weight.copy_(torch.tensor([[2.0, -1.0]]))
        attend.rest[1].bias.fill_(1.0)
        attend.rest[3].weight.fill_(0.5)
        attend.rest[3].bias.fill_(0.25)
        for slope in slopes:
            slope.weight.fill_(0.1)
    events, mask = torch.tensor([[[9.0], [3.0], [-1.0]]]), torch.tensor([[False, True, True]])
    candidate = torch.tensor([[[2.0]]])
    # e = 3: first (2 + 6 − 3 + 24 + .5, −2 + 1.5 + 2 + 6 − .5) = (29.5, 7) → 59 − 7 + 1 = 53 → 26.75
    # e = −1: first (2 − 2 + 9 − 8 + .5, −2 − .5 − 6 − 2 − .5) = (1.5, −11 · .1) → 3 + 1.1 + 1 = 5.1 → 2.8
    torch.testing.assert_close(attend.weights(candidate, events, mask), torch.tensor([[[0.0, 26.75, 2.8]]]))
    torch.testing.assert_close(attend(candidate, events, mask), torch.tensor([[[26.75 * 3 - 2.8]]]))


def test_dins_attention_is_that_of_the_concatenation_and_its_pieces_change_nothing(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    attend = LocalActivation(dim=6, hidden=(8, 4))
    candidates, events = torch.randn(7, 3, 6), torch.randn(7, 5, 6)
    mask = torch.rand(7, 5) < 0.7
    v, e = torch.broadcast_tensors(candidates.unsqueeze(2), events.unsqueeze(1))
    weights = attend.rest(attend.first(torch.cat([v, e, v - e, v * e], dim=-1)))
    expected = (weights * e * mask[:, None, :, None]).sum(dim=2)
    torch.testing.assert_close(attend(candidates, events, mask), expected)
    monkeypatch.setattr("gensr_model.baselines.din.PAIRS", 31)
    torch.testing.assert_close(attend(candidates, events, mask), expected)


def test_fmlps_padding_is_zero_after_every_block() -> None:
    """Bias and layer norm would fill it, and the next block's filter would carry that into the history."""
    torch.manual_seed(0)
    block, mask = Block(4, dim=3, dropout=0.0), torch.tensor([[False, False, True, True]])
    for norm in block.norms:
        nn.init.ones_(norm.bias)
    seen: list[Tensor] = []
    block.feed.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    result = block(torch.randn(1, 4, 3) * mask.unsqueeze(-1), mask)
    for states in (seen[0], result):
        assert (states[~mask] == 0).all()
        assert (states[mask] != 0).all()


def test_fmlps_filter_is_a_circular_convolution() -> None:
    """y_t = Σ_s h_s x_(t − s mod N), h the inverse transform of the weights, summed term by term."""
    for length in (5, 6):
        torch.manual_seed(length)
        layer = Filter(length, dim=3).double()
        x = torch.randn(2, length, 3, dtype=torch.float64)
        weight = torch.view_as_complex(layer.weight.detach()).numpy()
        frequency = np.arange(length)
        # The half spectrum of a real signal: the other half is its conjugate; first and middle are real.
        full = np.empty((length, 3), complex)
        full[: length // 2 + 1] = weight
        full[0] = full[0].real
        if length % 2 == 0:
            full[length // 2] = full[length // 2].real
        for k in range(1, (length + 1) // 2):
            full[length - k] = weight[k].conj()
        wave = np.exp(2j * np.pi * np.outer(frequency, frequency) / length)
        kernel = (wave @ full).real / length  # (N, d)
        expected = np.zeros(x.shape)
        for t in range(length):
            for s in range(length):
                expected[:, t] += kernel[s] * x.numpy()[:, (t - s) % length]
        torch.testing.assert_close(layer(x), torch.from_numpy(expected))


def test_gru4rec_reads_a_padded_history_as_the_history_alone() -> None:
    torch.manual_seed(0)
    model = GRU4Rec(DOMAIN, dim=4, hidden=6).eval()
    rows = [[3, 1, 4], [5], [9, 2, 6, 5, 3], []]
    states = model.last_hidden(history(*rows))
    for row, state in zip(rows[:3], states[:3], strict=True):
        alone: Tensor = model.gru(model.items(torch.tensor([row])))[1][0, 0]
        torch.testing.assert_close(state, alone)
    assert not states[3].any()


def test_bert4rec_masks_a_fifth_of_half_the_samples_and_the_last_place_of_the_rest() -> None:
    torch.manual_seed(0)
    model = BERT4Rec(DOMAIN, dim=4, mask_share=0.2)
    mask = torch.ones(20_000, 6, dtype=torch.bool)
    mask[:, :2] = False
    hidden = model.hide(mask)
    assert not (hidden & ~mask).any()
    assert hidden.any(dim=1).all()
    # A place before the last is masked in a cloze alone; the last also where it is the only one.
    assert abs(hidden[:, 2:5].float().mean().item() - 0.5 * 0.2) < 0.01
    expected = 0.5 + 0.5 * (0.2 + 0.8 * 0.8**3)
    assert abs(hidden[:, 5].float().mean().item() - expected) < 0.01


def test_bert4recs_loss_is_the_mean_over_masked_places_of_the_softmax_over_items() -> None:
    torch.manual_seed(0)
    model = BERT4Rec(DOMAIN, dim=4).eval()
    nn.init.normal_(model.bias)
    result = history([3, 1, 4], [2])
    batch = BaselineBatch(rec_history=result, candidates=torch.tensor([[7, 0], [8, 1]]))
    hidden = torch.tensor([[False, True, False, True], [False, False, False, True]])
    model.hide = lambda mask: hidden  # type: ignore[method-assign]
    items = torch.cat([result.item, batch.candidates[:, :1]], dim=1)
    mask = torch.cat([result.mask, torch.ones(2, 1, dtype=torch.bool)], dim=1)
    states = model.encode(items, mask, hidden)
    logs = (states @ model.items.table.weight.T + model.bias).log_softmax(dim=-1)
    expected = (-(logs[0, 1, 1] + logs[0, 3, 7]) / 2 - logs[1, 3, 8]) / 2
    torch.testing.assert_close(model.loss(batch).total, expected)
    # A score is the logit of the item in the place behind the history.
    model.hide = BERT4Rec.hide.__get__(model)  # type: ignore[method-assign]
    only_last = torch.tensor([[False, False, False, True]] * 2)
    behind = model.encode(items, mask, only_last)[:, -1] @ model.items.table.weight.T + model.bias
    torch.testing.assert_close(model.score(batch), behind.gather(1, batch.candidates))


def test_a_catalogue_too_large_is_sampled() -> None:
    """Over many draws the sampled loss is near the full one, and it costs the drawn items only."""
    torch.manual_seed(0)
    states, rows, target = torch.randn(4, 8), torch.randn(500, 8) * 0.3, torch.tensor([1, 7, 7, 400])
    full = losses.catalogue_ce(states, rows, target)
    drawn = torch.stack([losses.catalogue_ce(states, rows, target, above=499, count=200) for _ in range(300)])
    assert drawn.std(dim=0).min() > 0
    torch.testing.assert_close(drawn.mean(dim=0), full, atol=0.02, rtol=0.01)
