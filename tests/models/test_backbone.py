"""Pretrained backbones: from a folder, tied and untied, cut to their first layers, and through a bundle."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from small_dataset import SMALL_CONFIG, write_cf, write_dataset
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from gensr_model.config.model import BackboneConfig, ModelConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.data.text import train_tokenizer
from gensr_model.errors import ConfigError
from gensr_model.models import backbone, bundle


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return write_dataset(tmp_path_factory.mktemp("backbone") / "prepared")


def save_t5(folder: Path, tokenizer: Tokenizer, tied: bool) -> T5ForConditionalGeneration:
    """A small T5 as Hugging Face saves one, with what T5Config makes of flan's untied matrices."""
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=16, d_kv=8, d_ff=32, num_layers=3, num_decoder_layers=3,
        num_heads=2, decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    config.tie_word_embeddings = tied
    model = T5ForConditionalGeneration(config)
    model.set_input_embeddings(model.shared)  # one matrix for encoder and decoder, as in every T5
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_a_pretrained_folder_goes_through_a_bundle_unchanged(
    dataset: PreparedDataset, tmp_path: Path, tied: bool
) -> None:
    small = ModelConfig(backbone=BackboneConfig(vocab_size=120))
    theirs = save_t5(tmp_path / "t5", train_tokenizer(dataset, small), tied)
    config = PipelineConfig.model_validate(
        SMALL_CONFIG | {"model": {"view_heads": 2, "backbone": {"name_or_path": str(tmp_path / "t5")}}}
    )
    model, tokenizer = bundle.assemble("gensr", dataset, write_cf(tmp_path / "cf"), config)
    assert isinstance(model, bundle.GenSR)
    assert torch.equal(model.backbone.lm_head.weight, theirs.lm_head.weight)
    (tmp_path / "out").mkdir()
    bundle.save(tmp_path / "out", "gensr", model, tokenizer, dataset, config)
    loaded = bundle.load(tmp_path / "out").model
    assert isinstance(loaded, bundle.GenSR)
    assert torch.equal(loaded.backbone.lm_head.weight, theirs.lm_head.weight)
    assert torch.equal(loaded.backbone.shared.weight, theirs.shared.weight)
    assert (loaded.backbone.lm_head.weight.data_ptr() == loaded.backbone.shared.weight.data_ptr()) is tied


def test_the_first_layers_answer_as_in_the_whole_model(dataset: PreparedDataset, tmp_path: Path) -> None:
    small = ModelConfig(backbone=BackboneConfig(vocab_size=120))
    whole = save_t5(tmp_path / "t5", train_tokenizer(dataset, small), tied=False).eval()
    cut, _ = backbone.load_pretrained(BackboneConfig(name_or_path=str(tmp_path / "t5"), first_layers=2))
    cut.eval()
    assert (len(cut.encoder.block), len(cut.decoder.block)) == (2, 2)
    states = whole.encoder(input_ids=torch.tensor([[3, 4, 5]]), output_hidden_states=True).hidden_states
    result = cut.encoder(input_ids=torch.tensor([[3, 4, 5]]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(result[1], states[1])
    rebuilt = backbone.build(backbone.config_to_json(cut))
    assert (len(rebuilt.encoder.block), len(rebuilt.decoder.block)) == (2, 2)


def test_a_backbone_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # its variable is read at import only
    for name in (str(tmp_path / "nothing"), "nobody/no-such-t5"):
        with pytest.raises(ConfigError, match=r"name_or_path.*cannot be loaded"):
            backbone.load_pretrained(BackboneConfig(name_or_path=name))
