"""The item vectors that semantic ids quantize: TF-IDF and SVD of the text, a pretrained T5, or LightGCN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, T5EncoderModel

from gensr_model.config.model import SemanticIdsConfig, TextConfig
from gensr_model.data.bm25 import item_texts
from gensr_model.data.prepared import PreparedDataset
from gensr_model.errors import ConfigError, DataError
from gensr_model.models import cf_tables
from gensr_model.runtime.devices import default_device
from gensr_model.semantic_ids.codes import MOST_EQUAL

_SVD = 128
_T5_BATCH, _T5_TOKENS = 64, 64
_TOKENIZERS = ("tokenizer.json", "spiece.model")


class ItemVectors(NamedTuple):
    """Vectors (I, D) of unit length, and which items have one, (I,) bool. The others share the vector 0."""

    vectors: Tensor
    known: Tensor


def item_vectors(
    dataset: PreparedDataset, config: SemanticIdsConfig, text: TextConfig, cf: Path | None, seed: int
) -> ItemVectors:
    """The vectors that the config names, checked before any training.

    Args:
        cf: the folder of the LightGCN table; needed where ``config.vectors`` is ``cf``.
    Raises:
        ConfigError: there are more codes than items, ``vectors`` names no T5, or ``cf`` is missing.
        DataError: no item has a vector, or more items share one than a semantic id can tell apart.
    """
    if config.codes > dataset.n_items:
        raise ConfigError(
            f"semantic_ids.codes is {config.codes}, but {dataset.folder} has only {dataset.n_items} "
            "items. Set semantic_ids.codes to at most the number of items."
        )
    if config.vectors == "cf":
        made, what = _cf_vectors(cf), "training edge"
    else:
        texts, what = item_texts(dataset.items, text), "word of text"
        made = _tfidf_vectors(texts, seed) if config.vectors == "tfidf" else _t5_vectors(texts, config.vectors)
    _require_different(made, dataset, config.vectors, what)
    return made


def _require_different(made: ItemVectors, dataset: PreparedDataset, vectors: str, what: str) -> None:
    without = int((~made.known).sum())
    sizes = np.unique(made.vectors.numpy(), axis=0, return_counts=True)[1]
    if without == len(made.known):
        problem = f"no item has a {what}"
    elif without > MOST_EQUAL:
        problem = f"{without} items have no {what}"
    elif (equal := int(sizes.max())) > MOST_EQUAL:
        problem = f"{equal} items have the same vector"
    else:
        return
    raise DataError(
        f"{dataset.folder / 'items.parquet'}: {problem}, and items of equal vectors get equal codes, of which at most "
        f"{MOST_EQUAL} items can have one; choose other semantic_ids.vectors than {vectors!r}"
    )


def _unit(vectors: Tensor, known: Tensor, centred: bool) -> ItemVectors:
    """Rows of unit length; unknown rows are 0. With ``centred``, the mean of the known rows is subtracted first."""
    vectors = vectors.float()
    if centred and bool(known.any()):
        vectors = vectors - vectors[known].mean(dim=0)
    vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return ItemVectors(torch.where(known.unsqueeze(1), vectors, 0.0), known)


def _tfidf_vectors(texts: list[str], seed: int) -> ItemVectors:
    """TF-IDF of words of two characters or more, without English stop words, reduced to 128 directions by SVD."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        weights = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform(texts)  # (I, W)
    except ValueError:  # no text has a word
        return ItemVectors(torch.zeros(len(texts), 1), torch.zeros(len(texts), dtype=torch.bool))
    known = torch.from_numpy(np.diff(weights.indptr) > 0)
    svd = TruncatedSVD(min(_SVD, *weights.shape), random_state=seed)
    return _unit(torch.from_numpy(svd.fit_transform(weights)), known, centred=False)


def _cf_vectors(folder: Path | None) -> ItemVectors:
    """LightGCN's item vectors minus their mean."""
    if folder is None:
        raise ConfigError(
            "semantic_ids.vectors is 'cf', but the stage has no LightGCN table. Give it the folder of pretrain."
        )
    table = cf_tables.load(folder)
    return _unit(table.item, table.item_has_edges, centred=True)


@torch.inference_mode()
def _t5_vectors(texts: list[str], name: str) -> ItemVectors:
    """Means of a T5's encoder states over the tokens of a text, minus their mean over items, which hides all
    differences.
    """
    encoder, tokenizer = _load_t5(name)
    device = default_device()
    encoder.to(device).eval()
    known = torch.tensor([bool(text.strip()) for text in texts])
    means = torch.zeros(len(texts), encoder.config.d_model)
    order = np.argsort([len(text) for text in texts], kind="stable")  # texts of similar length share a batch
    for start in range(0, len(texts), _T5_BATCH):
        rows = order[start : start + _T5_BATCH]
        encoded = tokenizer([texts[row] for row in rows], truncation=True, max_length=_T5_TOKENS, padding=True,
                            return_tensors="pt").to(device)  # fmt: skip
        states = encoder(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask).last_hidden_state
        mask = encoded.attention_mask.unsqueeze(-1).to(states.dtype)  # (b, L, 1)
        means[rows] = ((states * mask).sum(dim=1) / mask.sum(dim=1)).float().cpu()
    return _unit(means, known, centred=True)


def require_t5(name: str) -> None:
    """Raise ConfigError where a folder or hub name is no T5 with weights and a tokenizer."""
    with _explained(name):
        kind = AutoConfig.from_pretrained(name).model_type
        if kind != "t5":
            raise ValueError(f"its config.json names the model type {kind!r}")
        if Path(name).is_dir() and not any((Path(name) / file).is_file() for file in _TOKENIZERS):
            raise ValueError("it has no tokenizer.json")  # transformers would make a tokenizer without words


def _load_t5(name: str) -> tuple[Any, Any]:
    """Encoder and tokenizer. Raises as ``require_t5`` does, and where weights are missing."""
    require_t5(name)
    with _explained(name):
        loaded: Any = T5EncoderModel.from_pretrained(name, use_safetensors=True, output_loading_info=True)
        encoder, loading = loaded
        if loading["missing_keys"]:
            raise ValueError(f"it lacks the weights {sorted(loading['missing_keys'])[:3]}")
        return encoder, AutoTokenizer.from_pretrained(name)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"semantic_ids.vectors {name!r} is no T5 that can be loaded ({error}). Give tfidf, cf, or a folder with a "
            "Hugging Face T5 (config.json, model.safetensors, tokenizer.json)."
        ) from error
