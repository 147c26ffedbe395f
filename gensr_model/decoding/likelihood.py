"""Log-likelihoods of given ids, and decoders whose softmax covers only the tokens of a place in an id."""

from __future__ import annotations

import torch
from torch import Tensor

from gensr_model.decoding.beam import Decoder


class RestrictedDecoder:
    """A decoder whose softmax at place l of an id is over the tokens ``allowed[l]``: all other logits are −∞.

    Args:
        allowed: (L, V) bool.
    """

    def __init__(self, decoder: Decoder, allowed: Tensor) -> None:
        self.decoder, self.allowed, self.place = decoder, allowed, 0

    def start(self) -> Tensor:
        """See ``Decoder``."""
        self.place = 0
        return self.decoder.start().masked_fill(~self.allowed[0], -torch.inf)

    def advance(self, source: Tensor, token: Tensor) -> Tensor:
        """See ``Decoder``."""
        self.place += 1
        return self.decoder.advance(source, token).masked_fill(~self.allowed[self.place], -torch.inf)


def candidate_scores(decoder: Decoder, tokens: Tensor, lengths: Tensor) -> Tensor:
    """(U, C) the score Σ_l log p(y_l | y_<l) of each candidate's id, whose own tokens are the decoder's input.

    Args:
        tokens: (U, C, L) ids, of which the first ``lengths`` (U, C) tokens count; the others may be any valid token.
    """
    users, count, depth = tokens.shape
    logits = decoder.start()  # (U, V)
    total = logits.log_softmax(dim=1).gather(1, tokens[:, :, 0])
    source = torch.arange(users, device=tokens.device).unsqueeze(1).expand(-1, count)
    for place in range(1, depth):
        logits = decoder.advance(source, tokens[:, :, place - 1])  # (U·C, V)
        step = logits.log_softmax(dim=1).gather(1, tokens[:, :, place].reshape(-1, 1)).view(users, count)
        total = torch.where(place < lengths, total + step, total)
        source = torch.arange(users * count, device=tokens.device).view(users, count)
    return total
