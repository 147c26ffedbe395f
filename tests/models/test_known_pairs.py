"""Counts as a part of the logit (departure AT) against a brute force on the small dataset."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_dataset import ITEMS, SMALL_MODEL, write_dataset

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.prepared import PreparedDataset, Samples
from gensr_model.data.text import encode_items, encode_prompts, train_tokenizer
from gensr_model.models.known_pairs import KnownPairs, count
from gensr_model.models.text_pooling import TextBuffers

COUNT, HAS, POPULAR, EVENT = 1.5, 0.25, 0.5, 0.75  # weights that are told apart
BOTH, AFTER, GAMMA, P, Q = 3.0, 5.0, 0.7, 0.6, 0.4


class World:
    def __init__(self, root: Path) -> None:
        self.dataset = write_dataset(root / "prepared")
        config = ModelConfig.model_validate(SMALL_MODEL)
        tokenizer = train_tokenizer(self.dataset, config)
        self.bags = encode_items(tokenizer, self.dataset.items, config.text)
        self.encode = lambda queries: encode_prompts(tokenizer, queries, config, FullRankingConfig())
        self.text = TextBuffers(self.bags, self.encode(self.dataset.queries))
        train = self.dataset.samples("train")
        self.searches = Counter(zip(train.query.tolist(), train.item.tolist(), strict=True))
        self.met = np.zeros((self.dataset.n_users, ITEMS))
        self.met[train.user, train.item] = 1
        self.order: dict[int, list[int]] = {}
        for row in np.lexsort((train.history_end, train.user)):
            met = self.order.setdefault(int(train.user[row]), [])
            if train.item[row] not in met:
                met.append(int(train.item[row]))

    def pairs(self, neighbors: int) -> KnownPairs:
        made = KnownPairs(count(self.dataset, self.text, neighbors), 5)
        with torch.no_grad():
            made.count_weight.copy_(torch.tensor([COUNT, HAS]))
            made.popularity_weight.copy_(torch.tensor([POPULAR, 2 * POPULAR]))
            made.event_weight.fill_(1.0)
            made.event_weight[:, 0], made.near_weight[1] = EVENT, 3.0
            made.log_kind_weight.copy_(torch.tensor([BOTH, AFTER]).log())
            made.power.copy_(torch.tensor([P, Q]))
        return made

    def batch(self, samples: Samples) -> Batch:
        return BatchBuilder(self.dataset, 5).build(samples, samples.item[:, None])

    def expected(self, samples: Samples, row: int, item: int, leave_out: bool, neighbors: int = ITEMS) -> float:
        query, task = int(samples.query[row]), int(samples.task[row])
        met = self.met.copy()
        if leave_out:
            met[samples.user[row], item] = 0
        users, both = met.sum(axis=0), met.T @ met
        orders = {user: order for user, order in self.order.items() if not (leave_out and user == samples.user[row])}
        found = self.searches[query, item] - leave_out if query >= 0 else 0
        score = COUNT * math.log1p(found) + HAS * (found > 0) + POPULAR * (1 + task) * math.log1p(users[item])
        history = self.dataset.events.item[samples.history_start[row] : samples.history_end[row]][-5:]
        near = 0.0
        for place, event in enumerate(history[::-1]):
            cosines = (self.met.T @ self.met)[event] / np.sqrt(np.maximum(self.met.sum(axis=0), 1))
            cosines[event] = -1
            if event == item or item not in np.argsort(-cosines, kind="stable")[:neighbors]:
                continue
            after = sum(
                GAMMA ** (order.index(item) - order.index(event) - 1)
                for order in orders.values()
                if event in order and item in order[order.index(event) + 1 :]
            )
            value = BOTH * both[event, item] + AFTER * after
            value /= max(1, self.met.sum(axis=0)[event]) ** P * max(1, users[item]) ** Q
            near += (EVENT if place == 0 else 1.0) * value
        return score + (3.0 if task else 1.0) * math.log1p(near)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("pairs"))


def some(dataset: PreparedDataset, split: str) -> Samples:
    every = dataset.samples(split)  # type: ignore[arg-type]
    return every.take(np.random.default_rng(2).permutation(len(every))[:12])


@pytest.mark.parametrize("neighbors", [ITEMS, 7])
def test_counts_and_cosines_are_those_of_training(world: World, neighbors: int) -> None:
    samples = some(world.dataset, "valid")
    batch, items = world.batch(samples), torch.tensor([3, 0, 17, 39, 8])
    result = world.pairs(neighbors)(batch, world.text.prompts(batch.query), items)
    expected = [
        [world.expected(samples, row, item, leave_out=False, neighbors=neighbors) for item in items.tolist()]
        for row in range(len(samples))
    ]
    torch.testing.assert_close(result.detach(), torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=1e-5)
    assert {0, 1} == set(samples.task.tolist())


def test_a_training_sample_is_scored_without_its_own_pair(world: World) -> None:
    samples = some(world.dataset, "train")
    batch, target = world.batch(samples), torch.from_numpy(samples.item)
    result = world.pairs(ITEMS).of_positive(batch, world.text.prompts(batch.query), target).detach()
    expected = [world.expected(samples, row, int(item), leave_out=True) for row, item in enumerate(samples.item)]
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=1e-5)


def test_a_query_is_found_in_another_list_and_items_in_another_catalogue(world: World) -> None:
    samples = some(world.dataset, "valid")
    batch, items = world.batch(samples), torch.arange(ITEMS)
    pairs = world.pairs(ITEMS)
    whole = pairs(batch, world.text.prompts(batch.query), items)
    queries = ["no such query", *reversed(world.dataset.queries)]
    text = TextBuffers(world.bags, world.encode(queries))
    moved = torch.where(batch.query < 0, -1, len(world.dataset.queries) - batch.query)
    torch.testing.assert_close(pairs(batch, text.prompts(moved), items), whole)
    unknown = pairs(batch, text.prompts(torch.zeros_like(moved)), items)
    no_query = pairs(batch, text.prompts(torch.full_like(moved, -1)), items)
    torch.testing.assert_close(unknown, no_query)
    assert not torch.allclose(unknown, whole)
    rows = torch.cat([torch.tensor([-1]), torch.arange(ITEMS).flip(0)])
    pairs.select(rows)
    elsewhere = batch._replace(items=ITEMS - batch.items)
    new = pairs(elsewhere, world.text.prompts(batch.query), torch.arange(ITEMS + 1))
    torch.testing.assert_close(new[:, 1:], whole.flip(1))
    assert new[:, 0].abs().max() == 0
