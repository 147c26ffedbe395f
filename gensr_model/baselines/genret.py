"""GenRet (Sun et al., NeurIPS 2023): a T5 learns item ids from texts and queries, one code after another.

d_t = Dec(Enc(text), z_<t) is the decoder's state for a query or an item at place t of an id, and p(z_t) = softmax(E_t
d_t). Code t is learned in two phases. ``prefix-t`` draws d_t of a query to that of its item. ``codes-t`` starts E_t at
centres of the items' d_t, and learns codes that distinguish items and are used about equally. Then z_t is frozen. The
last phase learns all tokens of the ids from queries.

Departures:

- A T5 from scratch with the words of the ``Lexicon``, K = 64 and 64 words of an item; officially T5-base and K = 512.
- An epoch has every training search, as for all baselines, not one random query per item. Phases have fewer epochs.
- Batches of later codes hold items of similar prefixes, not of one. Items are those that training searches found.
- The balance of a batch is over its distinct items. InfoNCE masks the positives of other samples with an equal query.
- Products of two d_t are divided by √d, since a T5 from scratch otherwise draws all d_t together. Centres have one
  length.
- Sinkhorn has ε = .05, not 1, and centred columns; otherwise codes of similar items are not balanced. Its scores are
  also centred per prefix; otherwise the items of a prefix get one code. Sinkhorn also gives the frozen codes, not
  argmax E_t d_t, and the items of balanced k-means, not a flow of least cost.
- The running number that ends an id is unique; officially it is modulo K, and items then share an id. The released last
  stage has three logits for four tokens. Ours has logits of numbers too, and learns all E_t.
- An item without text keeps random codes, since equal texts have equal codes.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import Phase
from gensr_model.baselines.generator import PAD, Generator, random_codes, side_by_side, small_t5
from gensr_model.baselines.inputs import QUERY, TEXT, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.data.prepared import IntArray
from gensr_model.errors import ConfigError, DataError
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.runtime.determinism import deterministic
from gensr_model.semantic_ids.codes import MOST_EQUAL, bucket_sizes, numbered
from gensr_model.semantic_ids.k_means import seeded

LEVELS = 3  # learned codes of an id
_CODES = 64  # K where none is given
_WORDS = 64  # words of an item's text
_READ_TOGETHER = 256  # items per call, where all items are read
_CLUSTERED = 20_000  # items behind the centres, drawn from a larger catalogue, and items that are balanced at once
_WEIGHTS = {
    "contrast": 0.5, "query_prefix": 0.5, "item_prefix": 0.5, "query_code": 0.5, "item_code": 0.5, "spread": 0.1,
}  # fmt: skip


class GenRet(Generator):
    """GenRet: one T5 reads a query or an item's text, each with an end token. It does not read the user.

    The encoder's tokens are words. The decoder's tokens are padding, the codes of each level, and the running numbers.

    Args:
        codes: K of each level; 0 means 64, or the number of items in a smaller catalogue.
    """

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, TEXT})
    tasks: ClassVar[tuple[Task, ...]] = ("search",)
    negatives: ClassVar[int | None] = 0
    in_parts: ClassVar[bool] = False
    phases: ClassVar[tuple[Phase, ...]] = (
        *(
            Phase(f"{kind}-{level}", share=share)
            for level in range(1, LEVELS + 1)
            for kind, share in (("prefix", 1 / 30), ("codes", 4 / 30))
        ),
        Phase("ids"),
    )

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, decoder_layers: int = 2, dropout: float = 0.1,
        codes: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if codes > domain.n_items:
            raise ConfigError(
                f"rerank.points.genret.codes is {codes}, but there are only {domain.n_items} items. "
                "Set codes to at most the number of items."
            )
        self.codes, self.end = codes or min(_CODES, domain.n_items), domain.n_words
        self.level, self.learns_codes = LEVELS + 1, False  # values of the last phase; ``enter`` sets them
        self.scale = dim**-0.5  # scale of products of d_t, whose length is about dim**0.5
        self.item_words = L.ItemWords(domain)
        self.t5 = small_t5(1 + LEVELS * self.codes + MOST_EQUAL, dim, layers, decoder_layers, dropout)
        self.t5.config.scale_decoder_outputs = False
        words = nn.Embedding(domain.n_words + 1, dim)
        nn.init.normal_(words.weight, std=0.02)
        self.t5.encoder.set_input_embeddings(words)
        self.books = nn.ParameterList(torch.randn(self.codes, dim) * self.scale for _ in range(LEVELS))  # E_t
        self.t5.lm_head = _Head(self.t5.shared, self.books)
        self.set_ids(self._tokens(random_codes(domain.n_items, self.codes, LEVELS + 1)))

    def enter(self, phase: str, seed: int) -> None:
        """Freeze the codes of the previous level, or start those of this level.

        Raises:
            DataError: more items share codes than there are numbers to distinguish them.
        """
        kind, _, level = phase.partition("-")
        self.level, self.learns_codes = int(level or LEVELS + 1), kind == "codes"
        for place, book in enumerate(self.books, start=1):
            book.requires_grad_(place == self.level or kind == "ids")
        with deterministic(), torch.no_grad():
            if self.learns_codes:
                self._start_codes(np.random.default_rng([seed, 8, self.level]))
            elif self.level > 1:
                self._freeze(self.level - 1)

    def buckets(self) -> IntArray | None:
        """(I,) a number for each prefix z_<t."""
        if not 1 < self.level <= LEVELS:
            return None
        prefix = self.ids[:, : self.level - 1].cpu().numpy()
        numbers: IntArray = np.unique(prefix, axis=0, return_inverse=True)[1]
        return numbers

    def prompt(self, batch: BaselineBatch) -> Tensor:
        return self._ended(batch.query)

    def loss(self, batch: BaselineBatch) -> LossParts:
        if self.level > LEVELS:
            return super().loss(batch)
        level, positive = self.level, batch.candidates[:, 0]
        items, own = positive.unique(return_inverse=True)  # (D,) distinct items, and each sample's place in them
        queries = self.decoder_states(self.prompt(batch), self._known(positive, level))  # (B, t, d)
        texts = self._text_states(items, level)  # (D, t, d)
        with_text = self.item_words.has_text(items)
        rows = {"contrast": self._contrast(queries[:, -1], texts[:, -1], own, with_text, batch.query)[with_text[own]]}
        if level > 1:
            rows |= {"query_prefix": self._prefix_loss(queries, positive)}
            rows |= {"item_prefix": self._prefix_loss(texts, items)[with_text]}
        if self.learns_codes:
            dense, code = texts[with_text, -1], self._code(items, level)
            scores = centred(dense.detach() @ self.books[level - 1].T, self._known(items[with_text], level))
            code[with_text] = sinkhorn(scores).argmax(dim=1)
            rows |= {"query_code": self._code_loss(queries[:, -1], code[own], level)}
            rows |= {"item_code": self._code_loss(dense, code[with_text], level)}
            rows |= {"spread": _spread(self.books[level - 1][code[with_text]], dense)}
        return losses.total(rows, _WEIGHTS)

    def _contrast(self, queries: Tensor, texts: Tensor, own: Tensor, with_text: Tensor, words: Tensor) -> Tensor:
        """(B,) InfoNCE between d_t (B, d) of queries and of the batch's items (D, d). ``own`` (B,) is each query's
        item.

        Items without text, and positives of samples with the same ``words`` (B, L), are no negatives.
        """
        same = (words.unsqueeze(1) == words).all(dim=2)  # (B, B)
        positive = F.one_hot(own, len(texts)).bool()
        same_positive = (same.unsqueeze(2) & positive).any(dim=1)  # (B, D)
        scores = (
            (queries @ texts.T * self.scale).float().masked_fill((same_positive | ~with_text) & ~positive, -torch.inf)
        )
        return F.cross_entropy(scores, own, reduction="none")

    def _prefix_loss(self, states: Tensor, items: Tensor) -> Tensor:
        """(n,) cross-entropy of z_<t, averaged over its places."""
        places = range(1, self.level)
        each = [self._code_loss(states[:, place - 1], self._code(items, place), place) for place in places]
        return torch.stack(each).mean(dim=0)

    def _code_loss(self, states: Tensor, code: Tensor, level: int) -> Tensor:
        """(n,) cross-entropy of codes (n,) of a level under d_t (n, d)."""
        return F.cross_entropy((states @ self.books[level - 1].T).float(), code, reduction="none")

    def _code(self, items: Tensor, level: int) -> Tensor:
        return self.ids[items, level - 1] - 1 - (level - 1) * self.codes

    def _tokens(self, codes: IntArray) -> Tensor:
        return torch.from_numpy(1 + codes + np.arange(LEVELS + 1) * self.codes)

    def _known(self, items: Tensor, level: int) -> Tensor:
        """(n, t) the decoder's input before z_t."""
        return F.pad(self.ids[items, : level - 1], (1, 0), value=PAD)

    def _ended(self, words: Tensor) -> Tensor:
        return side_by_side([words, torch.full_like(words[:, :1], self.end)])

    def _text_states(self, items: Tensor, level: int) -> Tensor:
        """(n, t, d) d_1 … d_t of items (n,)."""
        return self.decoder_states(self._ended(self.item_words.first(items, _WORDS)), self._known(items, level))

    # --- between phases, over all items ------------------------------------------------------------------------

    def _dense(self, items: Tensor, level: int) -> Tensor:
        """(n, d) d_t without dropout."""
        training = self.training
        self.eval()
        dense = torch.cat([self._text_states(part, level)[:, -1] for part in items.split(_READ_TOGETHER)])
        self.train(training)
        return dense

    def _items_with_text(self) -> Tensor:
        """(T,) the items with text."""
        return torch.nonzero(self.item_words.has_text(torch.arange(len(self.ids), device=self.ids.device))).squeeze(1)

    def _start_codes(self, rng: np.random.Generator) -> None:
        """Set E_t to centres of d_t, with each prefix moved to the mean of all."""
        with_text = self._items_with_text()
        if not len(with_text):
            return
        if len(with_text) > _CLUSTERED:
            with_text = with_text[torch.from_numpy(rng.permutation(len(with_text))[:_CLUSTERED]).to(with_text.device)]
        dense = self._dense(with_text, self.level)
        dense = centred(dense, self._known(with_text, self.level)) + dense.mean(dim=0)
        centres = balanced_kmeans(dense, self.codes, rng)
        # Centres have one length: otherwise E d would prefer the centres of narrow clusters.
        self.books[self.level - 1].copy_(F.normalize(centres) * dense.norm(dim=1).mean() * self.scale)

    def _freeze(self, level: int) -> None:
        """Set z of a level to the argmax of Sinkhorn over the items with text. All ids get new running numbers."""
        every = torch.arange(len(self.ids), device=self.ids.device)
        codes, with_text = (
            torch.stack([self._code(every, place) for place in range(1, LEVELS + 1)], dim=1),
            self._items_with_text(),
        )
        if len(with_text):
            scores = centred(self._dense(with_text, level) @ self.books[level - 1].T, self._known(with_text, level))
            parts = [sinkhorn(part).argmax(dim=1) for part in scores.split(_CLUSTERED)]
            codes[with_text, level - 1] = torch.cat(parts)
        if (equal := bucket_sizes(codes.cpu().numpy()).max()) > MOST_EQUAL:
            raise DataError(
                f"GenRet gave {equal} items the same codes, but ids can distinguish only "
                f"{MOST_EQUAL}. Train for more epochs, or with another learning rate."
            )
        self.ids.copy_(self._tokens(numbered(codes.cpu().numpy())))


class _Head(nn.Module):
    """Logits of the decoder's tokens: E_t d_t of all levels, and d · the input vectors of padding and the numbers.

    A number is the last token of an id, so nothing else reads its input vector.
    """

    def __init__(self, inputs: nn.Embedding, books: nn.ParameterList) -> None:
        super().__init__()
        self.inputs, self.books = inputs, books

    def forward(self, states: Tensor) -> Tensor:
        """(..., d) → (..., V)."""
        inputs = self.inputs.weight
        return F.linear(states, torch.cat([inputs[:1], *self.books, inputs[-MOST_EQUAL:]]))


def _spread(centres: Tensor, dense: Tensor) -> Tensor:
    """(n,) InfoNCE(e_z + d − sg(d), sg(d)): pulls an item to its code and away from the codes of others."""
    fixed = dense.detach()
    scores = (centres + dense - fixed) @ fixed.T
    return F.cross_entropy(scores.float(), torch.arange(len(fixed), device=fixed.device), reduction="none")


def centred(values: Tensor, prefix: Tensor) -> Tensor:
    """(n, d) values minus the mean of those with the same prefix (n, t), whose common part cannot distinguish them.

    A value alone in its prefix is centred by the mean of all and scaled to the length of the others. Otherwise codes
    would be spent on it.
    """
    _, group, size = prefix.unique(dim=0, return_inverse=True, return_counts=True)
    mean = values.new_zeros(len(size), values.shape[1]).index_add(0, group, values) / size.unsqueeze(1)
    alone = (size == 1)[group]
    values = values - torch.where(size.unsqueeze(1) > 1, mean, values.mean(dim=0))[group]
    if alone.any() and not alone.all():
        values[alone] *= values[~alone].norm(dim=1).mean() / values[alone].norm(dim=1).mean().clamp(min=1e-9)
    return values


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, rounds: int = 100) -> Tensor:
    """(N, K) scores → (N, K) soft codes in float64. A row sums to 1, and a column to N / K up to convergence.

    Columns are centred first, since a part that all rows share decides nothing. Then scores are scaled to [−1, 1].
    """
    if not scores.numel():
        return scores
    scores = scores.double() - scores.double().mean(dim=0)
    low, high = scores.min(), scores.max()
    kernel = ((2 * scores - low - high) / (high - low + 1e-5) / epsilon).exp()
    row = kernel.new_ones(len(kernel))
    for _ in range(rounds):
        column = len(kernel) / kernel.shape[1] / (row @ kernel)
        row = 1 / (kernel @ column)
    return row.unsqueeze(1) * kernel * column


def balanced_kmeans(points: Tensor, count: int, rng: np.random.Generator, rounds: int = 10) -> Tensor:
    """(N, d) → (count, d) centres, each of about N / count points, from a k-means++ start."""
    centres = seeded(points, count, rng)
    for _ in range(rounds):
        nearest = sinkhorn(-torch.cdist(points, centres).square()).argmax(dim=1)
        share = F.one_hot(nearest, count).to(points.dtype)
        size = share.sum(dim=0).unsqueeze(1)
        centres = torch.where(size > 0, share.T @ points / size.clamp(min=1), centres)
    return centres
