"""CoLLM (Zhang et al. 2023): a language model reads titles, and CF vectors in two slots of its prompt.

Departures: a T5 from scratch with the words of the ``Lexicon`` trains all weights, where the original adapts a
pretrained model by LoRA. Titles are cut to some words. The loss is on z_yes − z_no, which equals a softmax over {Yes,
No}. With ``answer`` "yes" the loss is on z_yes, as in the authors' code.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gensr_model.baselines import layers as L
from gensr_model.baselines.base import Baseline, Phase
from gensr_model.baselines.generator import PAD, attend_to_one_place, side_by_side, small_t5
from gensr_model.baselines.inputs import REC, TEXT, USER, BaselineBatch, Domain
from gensr_model.config.base import Task
from gensr_model.errors import ConfigError
from gensr_model.models import losses
from gensr_model.models.base import LossParts
from gensr_model.models.cf_tables import NodeVectors

_SPECIAL = 6  # tokens after the words: a separator, the mark of the candidate, two slots, No and Yes
_ROWS = 2_048  # prompts in one call: bounds memory, changes no score


class CoLLM(Baseline):
    """CoLLM: reads the latest titles, the user's slot, the candidate's title and the item's slot; answers Yes or No.

    A slot holds an MLP of the node's CF vector, with one MLP for users and items. Phase ``text`` trains the T5 on
    prompts without slots; phase ``slots`` trains only the MLP. Without a CF table the vectors are random, as a control.

    Args:
        latest: number of latest titles that the model reads.
        title_words: words of a title.
        cf_dim: dimensions of the CF table.
        answer: the logit that training uses and that ranks: z_yes − z_no, or z_yes.
    """

    reads: ClassVar[frozenset[str]] = frozenset({USER, REC, TEXT})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    negatives: ClassVar[int | None] = 4
    needs: ClassVar[tuple[str, ...]] = ("cf",)
    phases: ClassVar[tuple[Phase, ...]] = (Phase("text", share=0.1), Phase("slots", share=0.1))

    def __init__(
        self, domain: Domain, dim: int = 64, layers: int = 2, decoder_layers: int = 1, dropout: float = 0.1,
        latest: int = 5, title_words: int = 6, cf_dim: int = 64, answer: Literal["yes_no", "yes"] = "yes_no",
    ) -> None:  # fmt: skip
        super().__init__()
        self.latest, self.answer, self.slots, self.n_users = latest, answer, True, domain.n_users
        self.separator, self.candidate, self.user_slot, self.item_slot, self.no, self.yes = range(
            domain.n_words, domain.n_words + _SPECIAL
        )
        self.t5 = small_t5(domain.n_words + _SPECIAL, dim, layers, decoder_layers, dropout)
        # T5's initial scale: word vectors must stay visible through all layers. The small vectors that suit a softmax
        # over items would vanish beside the output of attention.
        nn.init.normal_(self.t5.shared.weight)
        attend_to_one_place(self.t5)
        self.slot = nn.Sequential(nn.Linear(cf_dim, 10 * cf_dim), nn.ReLU(), nn.Linear(10 * cf_dim, dim))
        # The vector of nodes without an edge. It learns in phase ``slots``: only a received table has such nodes.
        self.cold = nn.Parameter(torch.zeros(cf_dim), requires_grad=False)
        self.titles: Tensor
        titles = L.ItemWords(domain).first(torch.arange(domain.n_items), title_words)
        self.register_buffer("titles", titles, persistent=False)  # (I, W)
        self.vectors: Tensor  # (U + I, cf_dim) of users, then of items
        self.has_edges: Tensor  # (U + I,)
        nodes = domain.n_users + domain.n_items
        self.register_buffer("vectors", torch.randn(nodes, cf_dim, generator=torch.Generator().manual_seed(0)))
        self.register_buffer("has_edges", torch.ones(nodes, dtype=torch.bool))

    def receive(self, name: str, value: NodeVectors) -> None:
        """Take the CF table of users and items. Raises ConfigError for other dimensions than ``cf_dim``."""
        assert name == "cf"
        if value.vectors.shape != self.vectors.shape:
            raise ConfigError(
                f"CoLLM reads a CF table of {'x'.join(map(str, self.vectors.shape))}, but this one "
                f"has {'x'.join(map(str, value.vectors.shape))}. Set cf_dim in rerank.points to "
                "lightgcn.dim."
            )
        self.vectors.copy_(value.vectors)
        self.has_edges.copy_(value.has_edges)

    def enter(self, phase: str, seed: int) -> None:
        self.slots = phase == "slots"
        self.requires_grad_(self.slots)
        self.t5.requires_grad_(not self.slots)
        attend_to_one_place(self.t5)

    def loss(self, batch: BaselineBatch) -> LossParts:
        return losses.total({"bce": losses.bce(self.score(batch))})

    def score(self, batch: BaselineBatch) -> Tensor:
        """(B, C) the logit of the answer to each candidate."""
        rows = max(1, _ROWS // batch.candidates.shape[1])
        places = torch.arange(len(batch.candidates), device=batch.candidates.device).split(rows)
        return torch.cat([self._score(batch.take(place)) for place in places])

    def _score(self, batch: BaselineBatch) -> Tensor:
        tokens = self.prompt(batch)
        embedded, mask = self.embed(tokens, batch), (tokens != PAD).long()
        states = self.t5.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        first = self.t5.decoder(
            input_ids=torch.full_like(tokens[:, :1], PAD), encoder_hidden_states=states, encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state[:, 0] * self.t5.model_dim**-0.5  # fmt: skip
        yes, no = self.t5.shared.weight[self.yes], self.t5.shared.weight[self.no]
        return (first @ (yes - no if self.answer == "yes_no" else yes)).view_as(batch.candidates)

    def prompt(self, batch: BaselineBatch) -> Tensor:
        """(B·C, S) the prompt of every candidate, without slots in a phase that has none."""
        history, (rows, count) = batch.rec_history, batch.candidates.shape
        items, mask = history.item[:, -self.latest :], history.mask[:, -self.latest :]
        bought = F.pad(self.titles[items], (0, 1), value=self.separator) * mask.unsqueeze(-1)  # (B, H, W + 1)
        user, mark, item = (
            torch.full((rows * count, 1), token, device=items.device)
            for token in (self.user_slot * self.slots, self.candidate, self.item_slot * self.slots)
        )
        title = self.titles[batch.candidates.flatten()]
        return side_by_side([bought.flatten(1).repeat_interleave(count, dim=0), user, mark, title, item])

    def embed(self, tokens: Tensor, batch: BaselineBatch) -> Tensor:
        """(B·C, S, d_model) vectors of the tokens and of the slots."""
        embedded: Tensor = self.t5.shared(tokens)
        if self.slots:
            user = self.in_slot(batch.user).repeat_interleave(batch.candidates.shape[1], dim=0)
            item = self.in_slot(self.n_users + batch.candidates.flatten())
            for slot, vector in ((self.user_slot, user), (self.item_slot, item)):
                filled = vector.to(embedded.dtype).unsqueeze(1)
                embedded = torch.where((tokens == slot).unsqueeze(-1), filled, embedded)
        return embedded

    def in_slot(self, node: Tensor) -> Tensor:
        """(n,) nodes, users first → (n, d_model)."""
        vectors: Tensor = self.slot(torch.where(self.has_edges[node].unsqueeze(-1), self.vectors[node], self.cold))
        return vectors
