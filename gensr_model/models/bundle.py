"""A trained model as one folder: configuration, weights, tokenizer, and the raw ids of its items. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from gensr_model.config.model import FullRankingConfig, ModelConfig
from gensr_model.config.pipeline import PipelineConfig
from gensr_model.data.prepared import PreparedDataset
from gensr_model.data.searches import SEARCHES, encode_with_searches, lone_queries, with_searches
from gensr_model.data.text import answer_ids, encode_items, encode_prompts, load_tokenizer, train_tokenizer
from gensr_model.errors import DataError
from gensr_model.models import backbone as backbones
from gensr_model.models import cf_tables, known_pairs
from gensr_model.models.cf_tables import CFTable
from gensr_model.models.full_ranking import FullRanking
from gensr_model.models.gensr import DualViewT5, GenSR
from gensr_model.models.known_pairs import KnownPairs
from gensr_model.models.text_pooling import TextBuffers
from gensr_model.models.two_head import TwoHead
from gensr_model.models.view_ranking import ViewRanking
from gensr_model.runtime.files import load_module_tensors, module_tensors, read_tensors, write_json, write_tensors

Model = GenSR | TwoHead | FullRanking
CONFIG, WEIGHTS, TOKENIZER, ITEMS = "config.json", "model.safetensors", "tokenizer.json", "items.parquet"


class Loaded(NamedTuple):
    """A model ready to score samples of a dataset."""

    model: Model
    tokenizer: Tokenizer
    config: ModelConfig
    unknown_item_share: float  # share of the dataset's items that training did not have
    items: pa.Table  # the dataset's items, row by row as the model counts them


def assemble(kind: str, dataset: PreparedDataset, cf_folder: Path, config: PipelineConfig) -> tuple[Model, Tokenizer]:
    """A new model over a dataset and its LightGCN table. The same seed gives the same weights."""
    torch.manual_seed(config.seed)
    shape = config.model
    if shape.backbone.name_or_path is None:
        tokenizer = train_tokenizer(dataset, shape)
        backbone = T5ForConditionalGeneration(backbones.scratch_config(shape.backbone, tokenizer))
    else:
        backbone, tokenizer = backbones.load_pretrained(shape.backbone)
    cf = cf_tables.table_of(cf_folder, folds=shape.departures.folds, freeze=shape.freeze_cf)
    items, searches = _items(dataset, shape), shape.departures.searches_in_text
    full = config.full_ranking if kind == "full_ranking" else None
    text = _text(tokenizer, items, dataset.queries, shape, full)
    tokens_of_items = full is not None and not full.departures.item_vectors
    if searches.enabled and searches.leave_one_out and not tokens_of_items:
        text.lone_query = lone_queries(tokenizer, dataset, items, text.bags, searches.tokens)
    if full is not None:
        shape = full_ranking_shape(shape, full)
        if tokens_of_items:
            first = backbones.add_item_tokens(backbone, text.bags)
            return FullRanking(shape, full, backbone, cf, text, first), tokenizer
        near = full.departures.neighbors
        pairs = KnownPairs(known_pairs.count(dataset, text, near), shape.max_history) if near else None
        return ViewRanking(shape, full, backbone, cf, text, pairs), tokenizer
    if kind == "two_head":
        return TwoHead(shape, backbone.shared.weight, cf, text, config.train.two_head_gamma), tokenizer
    return GenSR(shape, backbone, cf, text, answer_ids(tokenizer)), tokenizer


def full_ranking_shape(config: ModelConfig, full: FullRankingConfig) -> ModelConfig:
    """The model's config for full ranking, which has no candidate (§6.3): no soft filter and no product with a
    candidate.

    With item tokens there are no cold items either.
    """
    changes = {"interaction": False} | ({} if full.departures.item_vectors else {"cold_items": 0.0})
    departures = config.departures.model_copy(update=changes)
    return config.model_copy(update={"soft_filter": False, "departures": departures})


def _items(dataset: PreparedDataset, config: ModelConfig) -> pa.Table:
    """The dataset's items, with the column of searches where the config asks for it."""
    return with_searches(dataset) if config.departures.searches_in_text.enabled else dataset.items


def _text(
    tokenizer: Tokenizer, items: pa.Table, queries: list[str], config: ModelConfig, full: FullRankingConfig | None,
    known: pa.Table | None = None,
) -> TextBuffers:  # fmt: skip
    searches = config.departures.searches_in_text
    if searches.enabled:
        bags = encode_with_searches(tokenizer, items, config.text, searches, known)
    else:
        bags = encode_items(tokenizer, items, config.text)
    return TextBuffers(bags, encode_prompts(tokenizer, queries, config, full))


def save(
    out: Path, kind: str, model: Model, tokenizer: Tokenizer, dataset: PreparedDataset, config: PipelineConfig
) -> None:
    """Write the bundle into an existing folder."""
    content: dict[str, Any] = {
        "kind": kind,
        "model": model.config.model_dump(mode="json"),
        "full_ranking": model.full.model_dump(mode="json") if isinstance(model, FullRanking) else None,
        "gamma": model.gamma if isinstance(model, TwoHead) else None,
        "cf_dim": model.cf.dim,
        "backbone": backbones.config_to_json(model.backbone) if isinstance(model, DualViewT5) else None,
    }
    write_json(out / CONFIG, content)
    write_tensors(out / WEIGHTS, module_tensors(model))
    tokenizer.save(str(out / TOKENIZER))
    pq.write_table(_items(dataset, config.model), out / ITEMS)


def load(folder: Path, items: pa.Table | None = None, queries: list[str] | None = None) -> Loaded:
    """Load a bundle over another catalogue of items and queries, matched by raw id. By default over its own.

    Items that the model does not know take its cold vector. The model reads their text as usual, without searches. The
    rarity of words in searches stays as in training.

    Raises:
        DataError: the folder is no bundle.
    """
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} has no {CONFIG}, so it is no model bundle. Give the folder of a trained model.")
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config = ModelConfig.model_validate(content["model"])
    tokenizer = load_tokenizer(folder / TOKENIZER)
    trained = pq.read_table(folder / ITEMS)
    items = trained if items is None else items
    known = None if items["raw_id"].equals(trained["raw_id"]) else trained
    rows = pc.index_in(items["raw_id"], value_set=trained["raw_id"].combine_chunks())
    if config.departures.searches_in_text.enabled and SEARCHES not in items.column_names:
        items = items.append_column(SEARCHES, pc.fill_null(trained[SEARCHES].take(rows), ""))
    tensors = read_tensors(folder / WEIGHTS)
    cf = CFTable(torch.zeros_like(tensors["cf.table"]), torch.zeros_like(tensors["cf.known"]), config.freeze_cf)
    full = FullRankingConfig.model_validate(content["full_ranking"]) if content.get("full_ranking") else None
    text = _text(tokenizer, items, queries or [], config, full, known)
    model: Model
    if full is not None:
        backbone = backbones.build(content["backbone"])
        if full.departures.item_vectors:
            model = ViewRanking(config, full, backbone, cf, text, _pairs(tensors, config, full))
        else:
            first = backbone.lm_head.out_features - trained.num_rows  # the items' tokens are the last
            model = FullRanking(config, full, backbone, cf, text, first)
    elif content["kind"] == "two_head":
        model = TwoHead(config, torch.zeros_like(tensors["words.weight"]), cf, text, content["gamma"])
    else:
        model = GenSR(config, backbones.build(content["backbone"]), cf, text, answer_ids(tokenizer))
    load_module_tensors(model, tensors)
    places = torch.from_numpy(pc.fill_null(rows, -1).to_numpy().astype(np.int64))
    model.select(places)
    model.eval()
    unknown = float((places < 0).float().mean()) if len(places) else 0.0
    return Loaded(model, tokenizer, config, unknown, items)


def _pairs(tensors: dict[str, Tensor], config: ModelConfig, full: FullRankingConfig) -> KnownPairs | None:
    if not full.departures.neighbors:
        return None
    return KnownPairs({name: tensors[f"pairs.{name}"] for name in known_pairs.TABLES}, config.max_history)


def kind(folder: Path) -> str:
    """The kind of model in a bundle, as ``assemble`` received it."""
    content: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return str(content["kind"])


def item_ids(folder: Path) -> list[str]:
    """Raw ids of the items that a bundle was trained with, by item_idx."""
    ids: list[str] = pq.read_table(folder / ITEMS, columns=["raw_id"])["raw_id"].to_pylist()
    return ids


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device
