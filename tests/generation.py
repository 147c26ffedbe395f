"""GenSR's score the way the paper words it: one prompt at a time through Hugging Face's own generation."""

import torch
from torch import Tensor

from gensr_model.data.batches import Batch
from gensr_model.models.gensr import GenSR


@torch.inference_mode()
def generated(model: GenSR, of: Batch) -> Tensor:
    """(B, C) P(Yes) by greedy `generate`, renormalised over the two answers."""
    encoded = model.encode(of)
    out = torch.empty(of.candidates.shape)
    for row in range(len(of.task)):
        embeds, mask = model.prompt(of, encoded, torch.tensor([row]))
        for column in range(of.candidates.shape[1]):
            result = model.backbone.generate(
                inputs_embeds=embeds[:, column], attention_mask=mask.long(), max_new_tokens=1,
                do_sample=False, output_scores=True, return_dict_in_generate=True,
            )  # fmt: skip
            out[row, column] = result.scores[0][0, model.answers].softmax(dim=0)[1]
    return out
