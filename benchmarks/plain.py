"""GenSR in a straightforward implementation: one prompt per user and candidate, with each row computed on its own.

Weights and maths are those of ``gensr_model.models.gensr``, written as a first version with Hugging Face: histories
collated row by row, item texts embedded token by token and averaged, eager attention, the answer by constrained
``generate``, the loss by the backbone's own labels. The benchmarks measure against it.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import NewGELUActivation

from benchmarks.sides import arguments, in_child
from gensr_model.data.prepared import IntArray, PreparedDataset, Samples
from gensr_model.models.gensr import GenSR
from gensr_model.models.text_pooling import masked_mean
from gensr_model.models.views import View


class Rows(NamedTuple):
    """N pairs of a sample and a candidate."""

    history: Tensor  # (N, H) item_idx, padded on the left
    mask: Tensor  # (N, H)
    behavior: Tensor  # (N, H)
    candidate: Tensor  # (N,)
    query: Tensor  # (N,) −1: none
    label: Tensor  # (N,) 1 for the first candidate of a sample, the positive

    def part(self, start: int, size: int) -> Rows:
        return Rows(*(field[start : start + size] for field in self))


def collate(dataset: PreparedDataset, samples: Samples, candidates: IntArray, max_history: int) -> Rows:
    """Every candidate of every sample as a row: a usual ``collate_fn``."""
    rows = []
    for n in range(len(samples)):
        start = max(int(samples.history_start[n]), int(samples.history_end[n]) - max_history)
        events = range(start, int(samples.history_end[n]))
        missing = max_history - len(events)
        history = [0] * missing + [int(dataset.events.item[e]) for e in events]
        behavior = [0] * missing + [int(dataset.events.behavior[e]) for e in events]
        mask = [False] * missing + [True] * len(events)
        for place, candidate in enumerate(candidates[n].tolist()):
            rows.append((history, mask, behavior, candidate, int(samples.query[n]), int(place == 0)))
    return Rows(*(torch.tensor(column) for column in zip(*rows, strict=True)))


class Plain(nn.Module):
    """The same model; its parts are copies of ``model``'s."""

    def __init__(self, model: GenSR) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.model.backbone.set_attn_implementation("eager")
        for module in self.model.backbone.modules():
            if isinstance(getattr(module, "act", None), nn.GELU):
                module.act = NewGELUActivation()  # transformers' own, which ours replaces

    def texts(self, items: Tensor) -> Tensor:
        """(N, K) items → (N, K, d): all tokens embedded, masked, averaged."""
        text = self.model.text.bags
        start, length = text.offsets[items], text.offsets[items + 1] - text.offsets[items]
        place = torch.arange(int(length.max()))
        tokens = text.tokens[(start.unsqueeze(-1) + place).clamp(max=len(text.tokens) - 1)]
        mask = place < length.unsqueeze(-1)
        vectors = self.model.backbone.shared(tokens) * mask.unsqueeze(-1)  # (N, K, T, d)
        mean: Tensor = vectors.sum(dim=2) / length.clamp(min=1).unsqueeze(-1)
        return mean

    def prompts(self, rows: Rows) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Embeddings (N, L, d), their mask (N, L), and the encoded histories (N, H, d) of both views."""
        table = self.model.text.prompts(rows.query)
        embeds = self.model.backbone.shared(table.ids).clone()
        items = torch.cat([rows.history, rows.candidate.unsqueeze(1)], dim=1)  # (N, H + 1)
        row = torch.arange(len(items))
        encoded = []
        for number, vectors in enumerate((self.model.cf(items), self.texts(items))):
            view = (self.model.cf_view, self.model.semantic_view)[number]
            assert isinstance(view, View)
            history = view.encoder(vectors[:, :-1], rows.mask, rows.behavior)
            slots = view.slots(history, rows.mask, vectors[:, -1:])
            for offset, filled in zip((0, 2), slots, strict=True):
                embeds[row, table.slots[:, offset + number]] = filled[:, 0]
            encoded.append(history)
        mask = torch.arange(embeds.shape[1]) < table.length.unsqueeze(1)
        return embeds, mask.long(), encoded

    @torch.inference_mode()
    def score(self, rows: Rows) -> Tensor:
        """(N,) P(Yes): generation that may only say Yes or No."""
        embeds, mask, _ = self.prompts(rows)
        allowed = self.model.answers.tolist()
        generated = self.model.backbone.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=1, do_sample=False, output_scores=True,
            return_dict_in_generate=True, prefix_allowed_tokens_fn=lambda _batch, _ids: allowed,
        )  # fmt: skip
        scores: Tensor = generated.scores[0].softmax(dim=-1)[:, allowed[1]]
        return scores

    def loss(self, rows: Rows, first: Tensor) -> Tensor:
        """Eq. 11; ``first`` (R,) are the rows that stand for the distinct users of Eq. 10."""
        model = self.model
        embeds, mask, (cf, semantic) = self.prompts(rows)
        labels = model.answers[rows.label].unsqueeze(1)
        generation: Tensor = model.backbone(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss
        contrast = model.contrast
        assert contrast is not None
        c = F.normalize(contrast.align_cf(masked_mean(cf[first], rows.mask[first])), dim=-1)
        s = F.normalize(contrast.align_semantic(masked_mean(semantic[first], rows.mask[first])), dim=-1)
        loss = torch.zeros(())
        for u in range(len(c)):  # Eq. 10, user by user
            every = torch.cat([s @ c[u], c @ s[u]]) / model.config.tau
            loss = loss + torch.logsumexp(every, 0) - c[u] @ s[u] / model.config.tau
        return generation + model.config.beta * loss / max(len(c), 1)


def three_ways(module: str, *arguments: object) -> list[dict[str, Any]]:
    """Ours, which keeps freed memory, and the other side without and with that, each in a process of its own."""
    return [
        in_child(module, "--child", *side, *arguments) for side in (("ours", "--keep"), ("other",), ("other", "--keep"))
    ]


def main(
    doc: str | None,
    size: str,
    default: int,
    child: Callable[[str, int, int, bool], dict[str, Any]],
    compare: Callable[[int, int], None],
) -> None:
    """The command line of a comparison with this side: runs ``compare`` for each length of prompts."""
    parser = arguments(doc)
    parser.add_argument("--prompts", type=int, nargs="+", default=[24, 64])
    parser.add_argument(f"--{size}", dest="size", type=int, default=default)
    parser.add_argument("--child", choices=["ours", "other"], help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for prompt in given.prompts:
        if given.child:
            print(json.dumps(child(given.child, prompt, given.size, given.keep)))
        else:
            compare(prompt, given.size)
