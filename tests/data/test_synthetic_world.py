"""The generated world before it is written: a head and a tail, new items, tastes and intents."""

from __future__ import annotations

import numpy as np
import pytest

from gensr_model.config.data import GeneratedSource
from gensr_model.data.synthetic import world as worlds
from gensr_model.data.synthetic.catalogue_text import item_texts
from gensr_model.data.synthetic.kuaisar_text import build_text, captions
from gensr_model.data.synthetic.world import STYLES, Choices, World, build_world, choose

ITEMS = 600


def made(seed: int) -> tuple[World, Choices, GeneratedSource]:
    source = GeneratedSource(users=1_500, items=ITEMS, events_per_user=12, world_seed=seed)
    world = build_world(source)
    return world, choose(world, source, spread=1.0), source


@pytest.fixture(scope="module", params=[0, 1, 2])
def both(request: pytest.FixtureRequest) -> tuple[World, Choices]:
    return made(request.param)[:2]


def consecutive(choices: Choices) -> np.ndarray:
    """(events - 1,) bool: this choice and the next one are of the same user."""
    return choices.user[1:] == choices.user[:-1]


def test_choices_stand_by_user_then_time_within_the_period(both: tuple[World, Choices]) -> None:
    _, choices = both
    assert np.array_equal(np.unique(choices.user), np.arange(1_500))
    assert (np.diff(choices.user) >= 0).all()
    assert (np.diff(choices.time)[consecutive(choices)] >= 0).all()
    assert choices.time.min() >= 0
    assert choices.time.max() < 1


def test_popularity_is_zipf_like(both: tuple[World, Choices]) -> None:
    """Weights fall as a power of the rank; taken counts have the head and keep a tail."""
    world, choices = both
    assert world.weight.sum() == pytest.approx(1)
    falling = np.sort(world.weight)[::-1]
    rank = np.arange(1, ITEMS + 1)
    slope = np.polyfit(np.log(rank[60:]), np.log(falling[60:]), 1)[0]
    assert -0.9 < slope < -0.6
    taken = np.sort(np.bincount(choices.item, minlength=ITEMS))[::-1]
    share = taken / taken.sum()
    assert share[: ITEMS // 10].sum() > 0.2
    assert share[ITEMS // 2 :].sum() < 0.32
    by_weight = np.bincount(choices.item, minlength=ITEMS)[np.argsort(-world.weight)]
    assert by_weight[: ITEMS // 2].sum() > 1.5 * by_weight[ITEMS // 2 :].sum()


def test_new_items_are_taken_more_soon_after_their_release(both: tuple[World, Choices]) -> None:
    world, choices = both
    release = world.release[choices.item]
    age = choices.time - release
    new = (release > 0) & (release < 0.5)
    fresh, settled = (np.sum(new & (age >= start) & (age < start + 0.1)) for start in (0.0, 0.3))
    assert fresh > 1.3 * settled
    # Were the release ignored, nearly one choice in five would fall before it.
    assert np.mean(age < 0) < 0.06


def test_a_user_keeps_to_a_style_and_no_word_tells_it(both: tuple[World, Choices]) -> None:
    world, choices = both
    style, leaf = world.style[choices.item], world.leaf[choices.item]
    elsewhere = consecutive(choices) & (leaf[1:] != leaf[:-1])
    assert (style[1:] == style[:-1])[elsewhere].mean() > 1.5 / STYLES


def test_texts_do_not_depend_on_style() -> None:
    source = GeneratedSource(items=ITEMS)
    world = build_world(source)
    other = world._replace(style=(world.style + 1) % STYLES)
    assert item_texts(world, source) == item_texts(other, source)
    kuai = [captions(np.random.default_rng(1), w, build_text(w, np.random.default_rng(0))) for w in (world, other)]
    assert kuai[0].equals(kuai[1])


def test_an_intent_stays_or_moves_to_the_companion(both: tuple[World, Choices]) -> None:
    world, choices = both
    leaf = world.leaf[choices.item]
    then, now = leaf[:-1][consecutive(choices)], leaf[1:][consecutive(choices)]
    n_leaves = len(world.leaves)
    assert np.mean(now == then) > 0.35
    assert np.mean(now == world.companion[then]) > 3 / n_leaves
    assert sorted(world.companion) == list(range(n_leaves))
    assert (world.companion != np.arange(n_leaves)).all()


def test_tastes_drift_along_a_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every choice straight from the tastes, the leaf a user starts with fades; without drift it would not."""
    monkeypatch.setattr(worlds, "STAY", 0.0)
    monkeypatch.setattr(worlds, "COMPANION", 0.0)
    monkeypatch.setattr(worlds, "TASTE", 1.0)
    world, choices, _ = made(0)
    leaf = world.leaf[choices.item]
    begin = np.flatnonzero(np.diff(choices.user, prepend=-1))
    length = np.diff(np.append(begin, len(leaf)))
    place = (np.arange(len(leaf)) - np.repeat(begin, length)) / np.repeat(length, length)
    first = leaf == np.repeat(leaf[begin], length)
    early, late = first[(place > 0) & (place < 0.5)].mean(), first[place >= 0.5].mean()
    assert early > 1.2 * late


def test_chunks_of_users_are_worlds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users come in chunks to bound memory; every user is there once, and no chunk repeats another."""
    source = GeneratedSource(users=90, items=150, events_per_user=10)
    world = build_world(source)
    monkeypatch.setattr(worlds, "USERS_PER_CHUNK", 40)
    choices = choose(world, source, spread=0.4)
    assert np.array_equal(np.unique(choices.user), np.arange(90))
    assert (np.diff(choices.user) >= 0).all()
    first, second = (choices.item[choices.user // 40 == chunk] for chunk in (0, 1))
    assert not np.array_equal(first[:50], second[:50])


@pytest.mark.parametrize(("mean", "least"), [(12.0, 6), (3.0, 1), (0.5, 1)])
def test_event_counts_have_a_floor_and_the_mean_asked_for(mean: float, least: int) -> None:
    source = GeneratedSource(users=2_000, items=400, events_per_user=mean)
    counts = np.bincount(choose(build_world(source), source, spread=1.0).user)
    assert counts.min() == least
    assert counts.mean() == pytest.approx(max(mean, 1.0), rel=0.08)
