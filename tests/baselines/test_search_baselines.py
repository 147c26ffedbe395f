"""The formulas of TEM, CoPPS and the search-enhanced baselines, computed by hand or in another way."""

from __future__ import annotations

import math

import pytest
import torch

from gensr_model.baselines import augment
from gensr_model.baselines.inputs import BaselineBatch, Domain, History
from gensr_model.baselines.nrhub import NRHUB
from gensr_model.baselines.query_seqrec import QuerySeqRec
from gensr_model.baselines.sesrec import CoAttention, SESRec, split, triplet
from gensr_model.baselines.tem import CoPPS
from gensr_model.data.text import ItemText

TEXT = ItemText(torch.tensor([2, 3, 4]), torch.tensor([0, 1, 2, 3, *[3] * 9]))
DOMAIN = Domain(n_items=12, n_users=3, n_words=6, max_history=5, item_text=TEXT)


def searched(items: list[list[int]], words: list[list[list[int]]]) -> History:
    """Search events of rows of one length."""
    item = torch.tensor(items)
    return History(item=item, query=torch.tensor(words), mask=torch.ones(item.shape, dtype=torch.bool))


def test_queries_have_one_key_however_they_are_padded() -> None:
    words = torch.tensor([[0, 0, 2, 3], [0, 0, 3, 2], [0, 2, 3, 0], [0, 0, 0, 0]])
    key = augment.query_key(words)
    assert len(key.unique()) == 4
    assert torch.equal(augment.query_key(words[:2, 2:]), key[:2])


def test_a_peer_is_drawn_evenly_among_those_with_the_same_key() -> None:
    torch.manual_seed(0)
    key = torch.tensor([7, -3, 7, 5, 7])
    drawn = torch.stack([augment.peer(key) for _ in range(3_000)])  # (3000, 5)
    assert (key[drawn] == key).all()
    assert (drawn[:, [1, 3]] == torch.tensor([1, 3])).all()
    for place in (0, 2, 4):
        share = torch.bincount(drawn[:, place], minlength=5)[[0, 2, 4]] / len(drawn)
        assert (share - 1 / 3).abs().max() < 0.04
    assert augment.peer(key[:0]).shape == (0,)


def test_a_run_has_its_share_of_the_events_and_a_reorder_moves_nothing_else() -> None:
    torch.manual_seed(0)
    length = torch.arange(9).repeat(200)
    mask = torch.arange(8) >= 8 - length.unsqueeze(1)
    run = augment.span(mask, 0.5)
    assert not (run & ~mask).any()
    assert torch.equal(run.sum(dim=1), torch.ceil(length / 2).long())
    edges = (run[:, 1:] != run[:, :-1]).sum(dim=1) + run[:, 0].int() + run[:, -1].int()
    assert (edges[length > 0] == 2).all(), "a run has a beginning and an end"
    order = augment.reorder(run)
    place = torch.arange(8).expand_as(order)
    assert torch.equal(order.sort(dim=1).values, place)
    assert torch.equal(order[~run], place[~run])
    assert (order[length == 8] != place[length == 8]).any(dim=1).float().mean() > 0.9
    starts = run[length == 8].int().argmax(dim=1)
    assert torch.equal(starts.unique(), torch.arange(5))


def test_copps_contrasts_only_histories_that_can_be_changed_and_substitutes_by_query() -> None:
    torch.manual_seed(0)
    model = CoPPS(DOMAIN, dim=8, heads=2).eval()
    bought = searched([[5, 6, 7], [8, 9, 10]], [[[2], [2], [3]], [[2], [3], [4]]])
    bought.mask[1, :2] = False
    empty = torch.zeros(2, 1, dtype=torch.long)
    batch = BaselineBatch(src_history=bought, query=empty + 2, candidates=torch.tensor([[1, 2], [3, 4]]))
    assert model.contrast(batch).shape == (1,)
    seen: list[torch.Tensor] = []
    model.items.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    for _ in range(200):
        model.view(bought.item[:1], bought.query[:1], bought.mask[:1])
    views = torch.cat(seen)
    assert (views[:, 2] == 7).any()
    first = {tuple(row) for row in views.tolist()}
    assert (5, 5, 7) in first, "6 and 5 were found by the same query"
    assert (6, 5, 7) in first
    assert all(set(row) <= {5, 6, 7} for row in first)
    assert not any(row.count(7) > 1 for row in first), "no other item was found by the query of 7"


def test_query_seqrec_lays_a_query_before_its_item_and_leaves_no_trace_of_one_elsewhere() -> None:
    torch.manual_seed(0)
    model = QuerySeqRec(DOMAIN, dim=8).eval()
    items = torch.tensor([[1, 2, 3]])
    words = torch.tensor([[[2, 3], [4, 0], [0, 5]]])
    mask = torch.tensor([[True, True, True]])
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    model.events.register_forward_hook(lambda module, args, out: seen.append(args))
    model.encode(items, words, mask, torch.tensor([[True, False, True]]))
    events, there = seen[0]
    assert there.tolist() == [[True, True, False, True, True, True]]
    table, kinds = model.words.weight, model.kinds.weight
    torch.testing.assert_close(events[0, 0], (table[2] + table[3]) / 2 + kinds[1])
    torch.testing.assert_close(events[0, 1], model.items.table.weight[1] + kinds[0])
    torch.testing.assert_close(events[0, 4], table[5] + kinds[1])


def test_query_seqrec_replaces_by_neighbours_of_the_graph_alone() -> None:
    torch.manual_seed(0)
    model = QuerySeqRec(DOMAIN, dim=8, replace=0.5)
    items = torch.tensor([[1, 2, 3], [4, 1, 6]])
    words = torch.tensor([[[2], [2], [3]], [[4], [5], [0]]])
    searched = torch.tensor([[True, True, True], [True, True, False]])
    result = [model._replace(items, words, searched) for _ in range(300)]
    new_items, new_words = (torch.stack(each) for each in zip(*result, strict=True))
    seen = [[set(new_items[:, b, h].tolist()) for h in range(3)] for b in range(2)]
    assert seen == [[{1, 2}, {1, 2}, {3}], [{4}, {1}, {6}]]  # 1 and 2 share the query 2
    asked = [[set(new_words[:, b, h, 0].tolist()) for h in range(3)] for b in range(2)]
    assert asked == [[{2, 5}, {2}, {3}], [{4}, {2, 5}, {0}]]  # queries 2 and 5 found item 1
    assert abs((new_items[:, 0, 0] == 2).float().mean().item() - 0.25) < 0.08
    assert torch.equal(items, torch.tensor([[1, 2, 3], [4, 1, 6]])), "the batch itself stays"


def test_nrhubs_user_of_one_event_a_view_by_hand() -> None:
    """With one event a view is its event; weights are softmax(v · tanh(W view + b)) over the views that there are."""
    torch.manual_seed(0)
    model = NRHUB(DOMAIN, dim=4, attention=3).eval()
    recommended = History(item=torch.tensor([[5]]), mask=torch.tensor([[True]]))
    batch = BaselineBatch(src_history=searched([[7]], [[[2, 3]]]), rec_history=recommended)
    vectors = model.items.table.weight
    query = torch.tanh(model.query.project((model.query.words.weight[2] + model.query.words.weight[3]) / 2))
    views = torch.stack([query, model.project[0](vectors[7]), model.project[1](vectors[5])])
    scores = model.views.weigh(torch.tanh(model.views.project(views))).squeeze(-1)
    torch.testing.assert_close(model.state(batch)[0], scores.softmax(0) @ views)
    batch.src_history.mask[:] = False
    torch.testing.assert_close(model.state(batch)[0], views[2])


def test_sesrecs_co_attention_by_loops() -> None:
    torch.manual_seed(0)
    attend = CoAttention(3)
    one, two = torch.randn(1, 2, 3), torch.randn(1, 3, 3)
    two[:, 0] = 0  # padding
    masks = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[False, True, True]])
    of_one, of_two = attend(one, two, masks)
    w, (w_r, w_s), (v_r, v_s) = attend.affinity.weight, attend.project, attend.weigh
    met_r, met_s = [w_r(r) for r in one[0]], [w_s(s) for s in two[0]]
    scores_r, scores_s = [], []
    for i, r in enumerate(one[0]):
        result = sum(torch.tanh(s @ (w @ r)) * met_s[j] for j, s in enumerate(two[0]))
        scores_r.append(v_r(torch.tanh(met_r[i] + result)))
    for j, s in enumerate(two[0]):
        result = sum(torch.tanh(s @ (w @ r)) * met_r[i] for i, r in enumerate(one[0]))
        scores_s.append(v_s(torch.tanh(met_s[j] + result)))
    torch.testing.assert_close(of_one[0], torch.cat(scores_r).softmax(0))
    torch.testing.assert_close(of_two[0, 1:], torch.cat(scores_s[1:]).softmax(0))
    assert of_two[0, 0] == 0


def test_sesrec_parts_events_at_the_mean_weight_and_pulls_them_apart() -> None:
    mask = torch.tensor([[False, True, True, True], [False, False, False, True], [False] * 4])
    weights = torch.tensor([[0.0, 0.5, 0.2, 0.3], [0.0, 0.0, 0.0, 1.0], [0.0] * 4])
    similar, other = split(weights, mask)
    assert similar.tolist() == [[False, True, False, False], [False, False, False, True], [False] * 4]
    assert other.tolist() == [[False, False, True, True], [False] * 4, [False] * 4]
    states = torch.tensor([[0.0, 4.0, 0.0, -2.0], [0.0] * 4, [0.0] * 4]).unsqueeze(-1)
    # Anchor .5 · 4 − .3 · 2 = 1.4; similar 4, other −1: |1.4 − 4| − |1.4 + 1| + margin.
    result = triplet(states, weights, similar, other, margin=0.1)
    torch.testing.assert_close(result, torch.tensor([2.6 - 2.4 + 0.1]), atol=1e-4, rtol=0)


def test_sesrec_aligns_a_query_with_its_item_and_not_against_its_own_kind() -> None:
    torch.manual_seed(0)
    model = SESRec(DOMAIN, dim=4, tau=0.5)
    # Samples 0 and 1 asked the same; 2 found what 0 found; 3 has nothing in common with the others.
    result = searched([[5], [6], [5], [7]], [[[2]], [[2]], [[3]], [[4]]])
    item, word = model.items.table.weight, model.words.weight
    similar = torch.tensor(
        [[torch.cosine_similarity(word[q], item[i], dim=0).item() / 0.5 for i in (5, 6, 5, 7)] for q in (2, 2, 3, 4)]
    ).exp()
    baselines = {0: [0, 3], 1: [1, 2, 3], 2: [2, 1, 3], 3: [3, 0, 1, 2]}
    expected = [
        -(math.log(similar[n, n] / similar[n, k].sum()) + math.log(similar[n, n] / similar[k, n].sum())) / 2
        for n, k in baselines.items()
    ]
    torch.testing.assert_close(model.align(result), torch.tensor(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", [CoPPS, SESRec])
def test_weights_of_further_losses_are_those_given(model: type[CoPPS] | type[SESRec]) -> None:
    name, part = ("contrast_weight", "contrast") if model is CoPPS else ("align_weight", "align")
    history = searched([[5, 6], [8, 9]], [[[2], [3]], [[2], [4]]])
    batch = BaselineBatch(
        src_history=history,
        rec_history=History(item=history.item, mask=history.mask),
        user=torch.tensor([0, 1]),
        query=torch.tensor([[2], [3]]),
        candidates=torch.tensor([[1, 2], [3, 4]]),
    )
    told = []
    for weight in (0.0, 3.0):
        torch.manual_seed(0)
        made = model(DOMAIN, dim=8, **{name: weight})  # type: ignore[arg-type]
        torch.manual_seed(1)
        told.append(made.loss(batch))
    torch.testing.assert_close(told[1].total - told[0].total, 3 * told[0].parts[part])
