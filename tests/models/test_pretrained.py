"""GenSR over a real pretrained flan-t5-small: its own vocabulary, untied head and layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from generation import generated
from safetensors.torch import load_file
from small_dataset import SMALL_CONFIG, write_cf, write_dataset
from torch import nn
from transformers import T5ForConditionalGeneration
from transformers.activations import NewGELUActivation

from gensr_model.config.model import BackboneConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.batches import Batch, BatchBuilder
from gensr_model.data.prepared import PreparedDataset
from gensr_model.models import backbone, bundle

pytestmark = pytest.mark.slow  # 308 MB of weights


class Pretrained:
    """A dataset and GenSR over the backbone, its other parts freshly made."""

    def __init__(self, root: Path, flan: Path, **backbone: object) -> None:
        self.dataset: PreparedDataset = write_dataset(root / "prepared")
        self.cf = write_cf(root / "cf")
        self.config = PipelineConfig.model_validate(
            SMALL_CONFIG | {"model": {"view_heads": 2, "backbone": {"name_or_path": str(flan), **backbone}}}
        )
        self.model, self.tokenizer = bundle.assemble("gensr", self.dataset, self.cf, self.config)
        self.model.eval()

    def batch(self, per_task: int) -> Batch:
        """Test samples of both tasks with their frozen candidates."""
        samples, negatives = self.dataset.evaluated("test")
        rows = np.concatenate([np.flatnonzero(samples.task == task)[:per_task] for task in (0, 1)])
        samples, negatives = samples.take(rows), negatives[rows]
        return BatchBuilder(self.dataset, 30).build(samples, np.column_stack([samples.item, negatives]))


@pytest.fixture(scope="module")
def whole(flan_t5_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return Pretrained(tmp_path_factory.mktemp("whole"), flan_t5_small)


def test_score_is_constrained_generation_of_the_pretrained_model(whole: Pretrained) -> None:
    batch = whole.batch(per_task=3)
    with torch.inference_mode():
        result = whole.model.score(batch).sigmoid()
    expected = generated(whole.model, batch)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert torch.equal(result.argsort(dim=1), expected.argsort(dim=1))
    assert expected.sort(dim=1).values.diff(dim=1).min() > 0, "no tie hides a wrong order"


def test_the_answers_are_whole_words_of_its_own_vocabulary(whole: Pretrained) -> None:
    assert [whole.tokenizer.id_to_token(i) for i in whole.model.answers.tolist()] == ["▁No", "▁Yes"]


def test_the_untied_head_survives_a_bundle(flan_t5_small: Path, tmp_path: Path) -> None:
    theirs = load_file(flan_t5_small / "model.safetensors")
    assert not torch.equal(theirs["lm_head.weight"], theirs["shared.weight"])
    short = Pretrained(tmp_path, flan_t5_small, first_layers=1)
    (tmp_path / "out").mkdir()
    bundle.save(tmp_path / "out", "gensr", short.model, short.tokenizer, short.dataset, short.config)
    loaded = bundle.load(tmp_path / "out", short.dataset.items, short.dataset.queries).model
    assert torch.equal(loaded.backbone.lm_head.weight, theirs["lm_head.weight"])
    assert torch.equal(loaded.backbone.shared.weight, theirs["shared.weight"])
    with torch.inference_mode():
        batch = short.batch(per_task=2)
        assert torch.equal(loaded.score(batch), short.model.score(batch))


def test_the_first_layers_compute_what_they_did_in_the_whole_model(whole: Pretrained, flan_t5_small: Path) -> None:
    cut, _ = backbone.load_pretrained(BackboneConfig(name_or_path=str(flan_t5_small), first_layers=2))
    full = whole.model.backbone
    assert len(full.encoder.block) == len(full.decoder.block) == 8
    assert len(cut.eval().encoder.block) == len(cut.decoder.block) == 2
    prompt = torch.tensor([whole.tokenizer.encode("search red shoe . history").ids])
    start = torch.zeros(1, 1, dtype=torch.long)
    with torch.inference_mode():
        for name, given in {"encoder": prompt, "decoder": start}.items():
            state = cut.encoder(input_ids=prompt).last_hidden_state if name == "decoder" else None
            more = {"input_ids": given, "encoder_hidden_states": state}
            second = getattr(full, name)(**more, output_hidden_states=True).hidden_states[2]
            stack = getattr(cut, name)
            torch.testing.assert_close(stack(**more).last_hidden_state, stack.final_layer_norm(second))


def test_the_fused_gelu_is_the_pretrained_models_own(whole: Pretrained, flan_t5_small: Path) -> None:
    """Beside transformers' model as it is loaded, gradients included."""
    theirs = T5ForConditionalGeneration.from_pretrained(flan_t5_small).eval()
    ours, _ = backbone.load_pretrained(BackboneConfig(name_or_path=str(flan_t5_small)))
    again = backbone.build(backbone.config_to_json(ours))
    kinds = {name: {type(m.act) for m in model.modules() if hasattr(m, "act")} for name, model in
             {"theirs": theirs, "ours": ours, "again": again}.items()}  # fmt: skip
    assert kinds == {"theirs": {NewGELUActivation}, "ours": {nn.GELU}, "again": {nn.GELU}}
    prompt = torch.tensor([whole.tokenizer.encode("search red shoe . history").ids])
    result = []
    for model in (theirs, ours.eval()):
        embeds = model.shared(prompt).detach().requires_grad_()
        state = backbone.first_step_hidden(model, embeds, torch.ones_like(prompt))
        state.square().sum().backward()
        result.append((state.detach(), embeds.grad))
    torch.testing.assert_close(result[1][0], result[0][0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(result[1][1], result[0][1], atol=1e-6, rtol=1e-4)


def test_the_small_preset_is_the_first_layers_by_name_or_folder(whole: Pretrained, flan_t5_small: Path) -> None:
    """From a folder it trains a step, over the two answers, and keeps the pretrained head and words."""
    by_name = PipelineConfig(preset="small").model.backbone
    assert (by_name.name_or_path, by_name.first_layers) == ("google/flan-t5-small", 2)
    config = PipelineConfig.model_validate(
        {"preset": "small", "model": {"backbone": {"name_or_path": str(flan_t5_small)}}}
    )
    model, _ = bundle.assemble("gensr", whole.dataset, whole.cf, config)
    assert isinstance(model, bundle.GenSR)
    assert len(model.backbone.encoder.block) == len(model.backbone.decoder.block) == 2
    assert torch.equal(model.backbone.lm_head.weight, whole.model.backbone.lm_head.weight)
    model.loss(whole.batch(per_task=2)).total.backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learning == {"backbone", "cf", "cf_view", "semantic_view", "contrast"}
