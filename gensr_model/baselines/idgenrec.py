"""IDGenRec (Tan et al., SIGIR 2024): a writer turns an item's text into words, the item's id.

A recommender generates the next id. Departures: both are a T5 from scratch with the words of the ``Lexicon``. The
writer first learns ids of TF-IDF words, where the original starts with a published tagger. Ids of users are left out:
the original makes them from the whole sequence, target included. Beams are plain, not diverse. An id that is already
taken gets a number.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import Phase
from gensr_model.baselines.generator import PAD, Generator, side_by_side, small_t5
from gensr_model.baselines.inputs import REC, TEXT, BaselineBatch, Domain
from gensr_model.baselines.words import UNKNOWN
from gensr_model.config.base import Task
from gensr_model.data.text import ItemText
from gensr_model.models import losses
from gensr_model.models.base import LossParts

LEAST, WORDS = 2, 6  # fewest and most words of an id; the rarest word alone would share nothing with other ids
NUMBERS = 256  # tokens for the digits of the number that distinguishes equal words
_NEAR, _SHARE = 5, 10  # the writer learns from the latest _NEAR events of one in _SHARE samples
_ITEMS = 256  # items whose ids are written in one call

Words = tuple[int, ...]


def top_words(text: ItemText) -> list[Words]:
    """At most six distinct words of each item, by TF-IDF; among equal ones the first in the text."""
    tokens, items = text.tokens.numpy(), len(text.offsets) - 1
    item = np.repeat(np.arange(items), np.diff(text.offsets.numpy()))
    pairs, first, count = np.unique(np.stack([item, tokens]), axis=1, return_index=True, return_counts=True)
    of_item, word = pairs
    weight = count * np.log(items / np.bincount(word, minlength=1)[word])
    result: list[list[int]] = [[] for _ in range(items)]
    for pair in np.lexsort([first, -weight, of_item]):
        if len(result[of_item[pair]]) < WORDS:
            result[of_item[pair]].append(int(word[pair]))
    return [tuple(words) for words in result]


def shortest_ids(words: list[Words]) -> list[tuple[Words, int | None]]:
    """For each item the fewest first words, at least two, that begin no other item's words.

    Where there are none, the id is all words and a number.
    """
    begin = [Counter(each[:n] for each in words) for n in range(WORDS + 1)]
    taken: Counter[Words] = Counter()
    ids: list[tuple[Words, int | None]] = []
    for each in words:
        n = next((n for n in range(min(LEAST, len(each)), len(each) + 1) if n and begin[n][each[:n]] == 1), None)
        ids.append((each, taken[each]) if n is None else (each[:n], None))
        taken[each] += n is None
    return ids


class IDGenRec(Generator):
    """IDGenRec: reads the ids of the latest items, which are words of their texts.

    Phases: the writer learns the first ids; the recommender learns with them; the writer learns through the frozen
    recommender, which reads the expected vectors p · W of its words. Then all ids are written anew, and the recommender
    learns with the new ids. Every id ends with the end token, so no id begins another.

    Args:
        latest: number of latest items that the model reads.
        text_words: words of a text that the writer reads.
        beams: ids to try for an item before it gets a number.
    """

    reads: ClassVar[frozenset[str]] = frozenset({REC, TEXT})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    negatives: ClassVar[int | None] = 0
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase("words", share=0.1),
        Phase("recommend", share=0.2),
        Phase("write", epochs=1, learning_rate=1e-4),
        Phase("recommend_anew", share=0.2),
    )

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, decoder_layers: int = 2, dropout: float = 0.1,
        latest: int = 20, text_words: int = 32, beams: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        assert domain.item_text is not None  # declared
        self.latest, self.beams, self.phase = latest, beams, "recommend_anew"
        self.number = domain.n_words
        self.begin, self.eos = self.number + NUMBERS, self.number + NUMBERS + 1
        self.digits = next(n for n in range(1, 9) if NUMBERS**n >= domain.n_items)
        self.t5, self.writer = (
            small_t5(self.eos + 1, dim, layers, decoder_layers, dropout) for _ in ("recommender", "writer")
        )
        self.writer.requires_grad_(False)  # trainable only in its phases
        self.texts: Tensor
        texts = L.ItemWords(domain).first(torch.arange(domain.n_items), text_words)
        self.register_buffer("texts", texts, persistent=False)  # (I, W)
        self.changed: Tensor  # share of items whose id differs from the first one
        self.register_buffer("changed", torch.zeros(()))
        self.set_ids(*self._tokens(shortest_ids(top_words(domain.item_text))))

    def _tokens(self, ids: list[tuple[Words, int | None]]) -> tuple[Tensor, Tensor]:
        """(I, L) tokens of the ids, 0 after their end, and their lengths (I,)."""
        rows = []
        for words, number in ids:
            digits = [] if number is None else [number // NUMBERS**n % NUMBERS for n in reversed(range(self.digits))]
            rows.append([*words, *(self.number + digit for digit in digits), self.eos])
        longest = WORDS + self.digits + 1
        tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
        return tokens, torch.tensor([len(row) for row in rows])

    def enter(self, phase: str, seed: int) -> None:
        self.phase = phase
        if phase == "recommend_anew":
            self.write_anew()
        self.t5.requires_grad_(phase.startswith("recommend"))
        self.writer.requires_grad_(not phase.startswith("recommend"))

    # --- the recommender ---------------------------------------------------------------------------------------------

    def allowed(self) -> Tensor:
        """(L, V) the tokens that an id may have at each place. Only padding where no id is that long."""
        allowed = super().allowed()
        allowed[:, PAD] = ~allowed.any(dim=1)
        return allowed

    def prompt(self, batch: BaselineBatch) -> Tensor:
        return side_by_side([torch.full_like(batch.task, self.begin).unsqueeze(1), self._read(batch, self.latest)])

    def _read(self, batch: BaselineBatch, latest: int) -> Tensor:
        """(B, H · L) tokens of the ids of the latest items."""
        history = batch.rec_history
        return (self.ids[history.item[:, -latest:]] * history.mask[:, -latest:].unsqueeze(-1)).flatten(1)

    def loss(self, batch: BaselineBatch) -> LossParts:
        if self.phase == "words":
            return losses.total({"words": self.words_loss(len(batch.task))})
        if self.phase == "write":
            some = batch.take(torch.arange(-(-len(batch.task) // _SHARE), device=batch.task.device))
            return losses.total({"id": self.write_loss(some)})
        total, parts = losses.total({"id": self.id_loss(batch)})
        return LossParts(total, parts | {"changed_ids": self.changed})

    # --- the writer --------------------------------------------------------------------------------------------------

    def words_loss(self, count: int) -> Tensor:
        """(count,) −log-likelihood of the ids of drawn items, given their texts."""
        items = torch.randint(len(self.ids), (count,), device=self.ids.device)
        return self._id_nll(self.written(items), items)

    def write_loss(self, batch: BaselineBatch) -> Tensor:
        """(B,) ``id_loss`` with the recommender reading, for each word, the mean of all word vectors under the writer's
        p.
        """
        items, target = batch.rec_history.item[:, -_NEAR:], batch.candidates[:, 0]
        expected = self.written(items.flatten()).softmax(dim=-1) @ self.t5.shared.weight  # (B · H, L, d)
        begin = torch.full_like(batch.task, self.begin).unsqueeze(1)
        tokens = torch.cat([begin, self._read(batch, _NEAR)], dim=1)
        vectors = torch.cat([self.t5.shared(begin), expected.view(len(items), -1, expected.shape[-1])], dim=1)
        order = (tokens != PAD).long().argsort(dim=1, stable=True)  # padding to the left, as ``side_by_side``
        logits = self.t5(
            inputs_embeds=vectors.gather(1, order.unsqueeze(-1).expand_as(vectors)),
            attention_mask=(tokens != PAD).long().gather(1, order), decoder_input_ids=self._known(target),
            use_cache=False,
        ).logits.float()  # fmt: skip
        return self._id_nll(logits.masked_fill(~self.allowed(), -torch.inf), target)

    def _id_nll(self, logits: Tensor, items: Tensor) -> Tensor:
        """(M, L, V) → (M,) −log-likelihood of the items' ids."""
        each = F.cross_entropy(logits.transpose(1, 2), self.ids[items], ignore_index=PAD, reduction="none")
        return each.sum(dim=1)

    def _known(self, items: Tensor) -> Tensor:
        """(M, L) the decoder's input: the ids, one place later."""
        return F.pad(self.ids[items], (1, -1), value=PAD)

    def written(self, items: Tensor) -> Tensor:
        """(M,) items → (M, L, V) the writer's logits at each place of their current ids."""
        tokens = self._text(items)
        logits: Tensor = self.writer(
            input_ids=tokens, attention_mask=(tokens != PAD).long(), decoder_input_ids=self._known(items),
            use_cache=False,
        ).logits  # fmt: skip
        return logits.float()

    def _text(self, items: Tensor) -> Tensor:
        return side_by_side([torch.full_like(items, self.begin).unsqueeze(1), self.texts[items]])

    @torch.no_grad()
    def write_anew(self) -> None:
        """Give each item the best id of a beam that no earlier item has.

        Where all are taken, the id is the best one and a number. An item for which the beam has no word gets only a
        number.
        """
        self.writer.eval()
        no_words = [PAD, UNKNOWN, *range(self.number, self.begin + 1)]
        numbers: Counter[Words] = Counter()
        used: set[Words] = set()
        ids: list[tuple[Words, int | None]] = []
        for items in torch.arange(len(self.ids), device=self.ids.device).split(_ITEMS):
            text = self._text(items)
            generated = self.writer.generate(  # type: ignore[misc]  # it asks for a decoder-only model
                input_ids=text, attention_mask=(text != PAD).long(), do_sample=False, num_beams=self.beams,
                num_return_sequences=self.beams, max_new_tokens=WORDS, eos_token_id=self.eos, suppress_tokens=no_words,
            )[:, 1:]  # fmt: skip
            for beam in generated.view(len(items), self.beams, -1).tolist():
                written = [tuple(token for token in row if token not in (PAD, self.eos)) for row in beam]
                words = next((each for each in written if each and each not in used), None)
                if words is None:
                    ids.append((written[0], numbers[written[0]]))
                    numbers[written[0]] += 1
                else:
                    used.add(words)
                    ids.append((words, None))
        tokens, lengths = (each.to(self.ids.device) for each in self._tokens(ids))
        self.changed.copy_((tokens != self.ids).any(dim=1).float().mean())
        self.ids.copy_(tokens)
        self.id_lengths.copy_(lengths)
