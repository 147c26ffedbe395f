"""The generative model: a pretrained T5 by name or folder, or a small one trained from scratch."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.activations import NewGELUActivation

from gensr_model.config.model import BackboneConfig
from gensr_model.data.text import EOS, PAD, ItemText, special_id
from gensr_model.errors import ConfigError
from gensr_model.models.text_pooling import pool_text

_TEXTS_AT_ONCE = 4_096


def scratch_config(config: BackboneConfig, tokenizer: Tokenizer) -> T5Config:
    """The T5 shape of a backbone trained from scratch, with the special ids of its tokenizer."""
    pad = special_id(tokenizer, PAD)
    out = T5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=config.d_model,
        d_kv=config.d_kv,
        d_ff=config.d_ff,
        num_layers=config.encoder_layers,
        num_decoder_layers=config.decoder_layers,
        num_heads=config.heads,
        dropout_rate=config.dropout,
        feed_forward_proj="relu",
        pad_token_id=pad,
        eos_token_id=special_id(tokenizer, EOS),
    )
    out.decoder_start_token_id = pad
    return out


def load_pretrained(config: BackboneConfig) -> tuple[T5ForConditionalGeneration, Tokenizer]:
    """A pretrained T5 and its tokenizer. Raises ConfigError where neither a folder nor the hub has it."""
    assert config.name_or_path is not None
    try:
        model = T5ForConditionalGeneration.from_pretrained(config.name_or_path)
        tokenizer = AutoTokenizer.from_pretrained(config.name_or_path).backend_tokenizer
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.backbone.name_or_path {config.name_or_path!r} cannot be loaded ({error}). Give a "
            "folder with a Hugging Face T5 (config.json, model.safetensors, tokenizer.json), or "
            "leave the field out to train from scratch."
        ) from error
    # flan-t5 is untied, but T5Config forces the flag to True. Saving or resizing would then tie the matrices.
    untied = model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    model.config.tie_word_embeddings = not untied
    model.set_input_embeddings(model.shared)
    fuse_gelu(model)
    if config.first_layers is not None:
        keep_first_layers(model, config.first_layers)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return model, tokenizer


def keep_first_layers(model: T5ForConditionalGeneration, layers: int) -> None:
    """Drop all but the first ``layers`` blocks of encoder and decoder, in place."""
    for stack in (model.encoder, model.decoder):
        stack.block = nn.ModuleList(stack.block[:layers])
        stack.config.num_layers = len(stack.block)
    model.config.num_layers = len(model.encoder.block)
    model.config.num_decoder_layers = len(model.decoder.block)


def fuse_gelu(model: T5ForConditionalGeneration) -> None:
    """Replace the gate's GELU by PyTorch's equal one, in place: one pass over memory instead of eight."""
    for module in model.modules():
        if isinstance(getattr(module, "act", None), NewGELUActivation):
            module.act = nn.GELU(approximate="tanh")


def add_item_tokens(model: T5ForConditionalGeneration, text: ItemText) -> int:
    """Add one token per item (§6.3), in place. Its vectors start as the mean of the vectors of the item's text.

    Both matrices grow and stay tied exactly if they were tied. An item without text starts at zero.

    Returns:
        The id of item 0's token; the others follow.
    """
    first, items = model.shared.num_embeddings, len(text.offsets) - 1
    tied = model.lm_head.weight.data_ptr() == model.shared.weight.data_ptr()
    model.config.tie_word_embeddings = tied  # T5Config always holds True, and resizing would then tie flan-t5
    model.resize_token_embeddings(first + items, mean_resizing=False)
    with torch.no_grad():
        for matrix in (model.shared,) if tied else (model.shared, model.lm_head):
            for start in range(0, items, _TEXTS_AT_ONCE):
                place = torch.arange(start, min(start + _TEXTS_AT_ONCE, items))
                matrix.weight[first + place] = pool_text(matrix, text, place)
    return first


def config_to_json(model: T5ForConditionalGeneration) -> dict[str, Any]:
    """The architecture as JSON. ``build`` rebuilds the model from it."""
    content: dict[str, Any] = model.config.to_dict()
    return content


def build(content: dict[str, Any]) -> T5ForConditionalGeneration:
    """The architecture of ``config_to_json`` with fresh weights, tied exactly if the original was tied."""
    config = T5Config(**content)
    config.tie_word_embeddings = content["tie_word_embeddings"]
    config.scale_decoder_outputs = content["scale_decoder_outputs"]
    model = T5ForConditionalGeneration(config)
    # The flag unties only the head. Encoder and decoder share one matrix in every T5, which transformers forgets here.
    model.set_input_embeddings(model.shared)
    fuse_gelu(model)
    return model


def first_step_hidden(model: T5ForConditionalGeneration, embeds: Tensor, mask: Tensor) -> Tensor:
    """Decoder state of the first generated position.

    Args:
        embeds: (N, L, d_model) prompt embeddings; mask: (N, L).
    Returns:
        (N, d_model), scaled as the model's head expects it.
    """
    device = embeds.device.type
    if torch.is_autocast_enabled(device):  # halves the memory traffic of the residual stream
        embeds = embeds.to(torch.get_autocast_dtype(device))
    encoded = model.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    start = torch.full((len(embeds), 1), model.config.decoder_start_token_id, device=embeds.device)
    hidden: Tensor = model.decoder(
        input_ids=start, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
    ).last_hidden_state[:, 0]
    if model.config.scale_decoder_outputs:
        hidden = hidden * model.model_dim**-0.5
    return hidden
