"""GenRet (Sun et al., NeurIPS 2023): a T5 learns the ids of items from their texts and queries, one code after another.

d_t = Dec(Enc(text), z_<t) is what the decoder says of a query or an item at place t of an id, and
p(z_t) = softmax(E_t d_t). Code t is learned in two phases. ``prefix-t`` draws d_t of a query to that of its item.
``codes-t`` starts E_t at centres of the items' d_t, and learns codes that tell items apart and are used about equally.
Then z_t is frozen. In the last phase the query's ids are learned, all tokens of them.

Departures:

- A T5 from scratch with the words of the ``Lexicon``, K = 64 and 64 words of an item; officially T5-base and K = 512.
- An epoch has every training search, as for all baselines, not one random query per item. Phases are shorter in epochs.
- Batches of later codes hold items of like prefixes, not of one. Items are those that training searches find.
- The balance of a batch is over its distinct items. Masked in InfoNCE: what another sample's equal query looks for.
- Products of two d_t are divided by √d, since a T5 from scratch else draws all d_t together. Centres have one length.
- Sinkhorn has ε = .05, not 1, and centred columns: else codes of items that are much alike are not balanced. Its scores
  are centred per prefix, too: else the items of a prefix get one code. It also gives the frozen codes, not argmax
  E_t d_t, and the items of balanced k-means, not a flow of least cost.
- The running number that ends an id is unique; officially it is modulo K, and items then share an id. The released last
  stage has three logits for four tokens. Ours has logits of numbers, too, and learns all E_t.
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
_WORDS = 64  # of an item's text
_READ_TOGETHER = 256  # items, where all are read
_CLUSTERED = 20_000  # items that centres are made of, drawn from a larger catalogue; and that are balanced at once
_WEIGHTS = {
    "contrast": 0.5, "query_prefix": 0.5, "item_prefix": 0.5, "query_code": 0.5, "item_code": 0.5, "spread": 0.1,
}  # fmt: skip


class GenRet(Generator):
    """One T5 reads a query or an item's text, each with a token at its end; the user is not read.

    The encoder's tokens are words. The decoder's are padding, the codes of each level, and the running numbers.

    Args:
        codes: K of each level; 0 is 64, or as many as a smaller catalogue has items.
    """

    reads: ClassVar[frozenset[str]] = frozenset({QUERY, TEXT})
    tasks: ClassVar[tuple[Task, ...]] = ("search",)
    negatives: ClassVar[int | None] = 0
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
                f"rerank.points.genret.codes is {codes}, but there are {domain.n_items} items: give no more codes than "
                "items"
            )
        self.codes, self.end = codes or min(_CODES, domain.n_items), domain.n_words
        self.level, self.learns_codes = LEVELS + 1, False  # of the last phase; ``enter`` sets them
        self.scale = dim**-0.5  # of products of d_t, whose length is about dim**0.5
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
        """Freeze the codes of the level before, or start those of this level.

        Raises:
            DataError: more items have the same codes than there are numbers to tell them apart.
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
        """(I,) numbers of the prefixes z_<t."""
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
        told = self.item_words.has_text(items)
        rows = {"contrast": self._contrast(queries[:, -1], texts[:, -1], own, told, batch.query)[told[own]]}
        if level > 1:
            rows |= {"query_prefix": self._prefix_loss(queries, positive)}
            rows |= {"item_prefix": self._prefix_loss(texts, items)[told]}
        if self.learns_codes:
            dense, code = texts[told, -1], self._code(items, level)
            scores = centred(dense.detach() @ self.books[level - 1].T, self._known(items[told], level))
            code[told] = sinkhorn(scores).argmax(dim=1)
            rows |= {"query_code": self._code_loss(queries[:, -1], code[own], level)}
            rows |= {"item_code": self._code_loss(dense, code[told], level)}
            rows |= {"spread": _spread(self.books[level - 1][code[told]], dense)}
        return losses.total(rows, _WEIGHTS)

    def _contrast(self, queries: Tensor, texts: Tensor, own: Tensor, told: Tensor, words: Tensor) -> Tensor:
        """(B,) InfoNCE of d_t (B, d) of queries and of the batch's items (D, d), ``own`` (B,) among them.

        No negatives: items without text, and what a sample with the same ``words`` (B, L) looks for.
        """
        same = (words.unsqueeze(1) == words).all(dim=2)  # (B, B)
        positive = F.one_hot(own, len(texts)).bool()
        found = (same.unsqueeze(2) & positive).any(dim=1)  # (B, D)
        scores = (queries @ texts.T * self.scale).float().masked_fill((found | ~told) & ~positive, -torch.inf)
        return F.cross_entropy(scores, own, reduction="none")

    def _prefix_loss(self, states: Tensor, items: Tensor) -> Tensor:
        """(n,) cross-entropy of z_<t, mean over its places."""
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

    def _told(self) -> Tensor:
        """(T,) the items with text."""
        return torch.nonzero(self.item_words.has_text(torch.arange(len(self.ids), device=self.ids.device))).squeeze(1)

    def _start_codes(self, rng: np.random.Generator) -> None:
        """E_t = centres of d_t, each prefix moved to the mean of all."""
        told = self._told()
        if not len(told):
            return
        if len(told) > _CLUSTERED:
            told = told[torch.from_numpy(rng.permutation(len(told))[:_CLUSTERED]).to(told.device)]
        dense = self._dense(told, self.level)
        dense = centred(dense, self._known(told, self.level)) + dense.mean(dim=0)
        centres = balanced_kmeans(dense, self.codes, rng)
        # Of one length: else E d would prefer the centres of narrow clusters.
        self.books[self.level - 1].copy_(F.normalize(centres) * dense.norm(dim=1).mean() * self.scale)

    def _freeze(self, level: int) -> None:
        """z of a level = argmax of Sinkhorn over the items with text; all ids get new running numbers."""
        every = torch.arange(len(self.ids), device=self.ids.device)
        codes, told = torch.stack([self._code(every, place) for place in range(1, LEVELS + 1)], dim=1), self._told()
        if len(told):
            scores = centred(self._dense(told, level) @ self.books[level - 1].T, self._known(told, level))
            parts = [sinkhorn(part).argmax(dim=1) for part in scores.split(_CLUSTERED)]
            codes[told, level - 1] = torch.cat(parts)
        if (equal := bucket_sizes(codes.cpu().numpy()).max()) > MOST_EQUAL:
            raise DataError(
                f"GenRet gave {equal} items the same codes, and ids tell {MOST_EQUAL} apart. Its codes learned "
                "nothing: train for more epochs or with another learning rate"
            )
        self.ids.copy_(self._tokens(numbered(codes.cpu().numpy())))


class _Head(nn.Module):
    """Logits of the decoder's tokens: E_t d_t of all levels, and d · the input vectors of padding and the numbers.

    A number is an id's last token, so that nothing reads its input vector.
    """

    def __init__(self, inputs: nn.Embedding, books: nn.ParameterList) -> None:
        super().__init__()
        self.inputs, self.books = inputs, books

    def forward(self, states: Tensor) -> Tensor:
        """(..., d) → (..., V)."""
        inputs = self.inputs.weight
        return F.linear(states, torch.cat([inputs[:1], *self.books, inputs[-MOST_EQUAL:]]))


def _spread(centres: Tensor, dense: Tensor) -> Tensor:
    """(n,) InfoNCE(e_z + d − sg(d), sg(d)): the code of an item is nearer to it than the codes of others."""
    fixed = dense.detach()
    scores = (centres + dense - fixed) @ fixed.T
    return F.cross_entropy(scores.float(), torch.arange(len(fixed), device=fixed.device), reduction="none")


def centred(values: Tensor, prefix: Tensor) -> Tensor:
    """(n, d) values less the mean of those with the same prefix (n, t): what these share cannot tell them apart.

    Where a prefix is alone: less the mean of all, and as long as the others are, or codes would be spent on it.
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
    """(N, K) scores → (N, K) soft codes in float64: a row sums to 1, a column to N / K up to convergence.

    Columns are centred first, since what all rows share decides nothing. Then all is moved and scaled to [−1, 1].
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
    """(N, d) → (count, d) centres, each of about N / count points; k-means++ start."""
    centres = seeded(points, count, rng)
    for _ in range(rounds):
        nearest = sinkhorn(-torch.cdist(points, centres).square()).argmax(dim=1)
        share = F.one_hot(nearest, count).to(points.dtype)
        size = share.sum(dim=0).unsqueeze(1)
        centres = torch.where(size > 0, share.T @ points / size.clamp(min=1), centres)
    return centres
