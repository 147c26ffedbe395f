"""Configs of the models: LightGCN, GenSR with its text, prompts and backbone, and full ranking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from gensr_model.config.base import Frozen


class TextConfig(Frozen):
    """Which fields an item's text has, each with its own token budget."""

    include_category: bool = Field(False, description="queries are made from categories: with them search is matching")
    pooling: Literal["tokens", "fields"] = Field(
        "tokens",
        description="an item's vector is the mean over all its tokens, or the mean of its fields' means, in which a "
        "short title weighs as much as a long description",
    )
    category_tokens: int = 32
    title_tokens: int = 48
    description_tokens: int = 128


class LightGCNConfig(Frozen):
    """§5.1.1 and footnote 2: LightGCN on recommendation behavior only."""

    dim: int = Field(64, ge=1)
    layers: int = Field(3, ge=0)
    learning_rate: float = Field(5e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    batch_size: int = Field(4096, ge=1)
    epochs: int = Field(60, ge=1)
    patience: int = Field(6, ge=1, description="evaluations without a better valid recall@20 before stopping")


class BackboneConfig(Frozen):
    """Any T5: a hub name or folder, or a small one of this shape with a tokenizer trained on the corpus."""

    name_or_path: str | None = None
    first_layers: int | None = Field(None, description="keep only the first k layers of a pretrained backbone")
    vocab_size: int = 8_000
    d_model: int = 64
    d_kv: int = 16
    d_ff: int = 256
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 1
    dropout: float = 0.1


class Prompt(Frozen):
    """The five text segments of a task (Eq. 9); ``{query}`` may stand in any of them."""

    segments: tuple[str, str, str, str, str]


class SearchesInTextConfig(Frozen):
    """AK: the queries of training's searches that ended at an item are a field of its text, for GenSR and two heads."""

    enabled: bool = False
    share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the field in the vector of an item that has it; within it rare tokens weigh more",
    )
    tokens: int = Field(64, ge=1, description="token budget of the field")
    leave_one_out: bool = Field(
        False,
        description="in training, drop from a search's positive the query words that only this search contributed: "
        "otherwise the label leaks into the input",
    )


class DeparturesConfig(Frozen):
    """GenSR's departures from the paper, all off. docs/reference/paper_to_code.md explains each by its letter."""

    searches_in_text: SearchesInTextConfig = Field(
        SearchesInTextConfig(), description="AK: training's queries as a field of item text"
    )
    folds: int = Field(
        0,
        ge=0,
        description="AL, cross-fitting: so many more LightGCN tables, each trained without one fold of the purchases. "
        "A training sample reads the table that has not seen its purchase; all else reads the common table. 0: none",
    )
    interaction: bool = Field(
        False, description="AM: the history's placeholders also hold the product of history and candidate"
    )
    query_interaction: bool = Field(
        False, description="AN: the candidate's placeholder of text also holds its product with the query"
    )
    cold_items: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="AO: share of a training batch's items that stand in it as items nobody has met: the CF table's "
        "cold vector, no searches in the text. Without it a model learns that such an item is never liked",
    )
    filter_identity: bool = Field(
        False,
        description="AP: the four matrices of the soft filter start as identities, not at random. It then starts as "
        "the mean of the history weighted by likeness to the candidate",
    )
    item_embedding: bool = Field(
        False, description="AJ: each item has a vector, learned from zero and added to that of its text"
    )


class ModelConfig(Frozen):
    """GenSR (§5) with every switch that the paper's ablations need."""

    backbone: BackboneConfig = BackboneConfig()
    text: TextConfig = TextConfig()
    departures: DeparturesConfig = DeparturesConfig()
    max_history: int = Field(30, ge=1, description="latest events that a history keeps")
    max_query_tokens: int = Field(16, ge=1)
    cf_view: bool = True
    semantic_view: bool = True
    soft_filter: bool = True
    freeze_cf: bool = True
    behavior_embedding: bool = Field(True, description="b_n of H_u, added to both views")
    position_embedding: bool = Field(True, description="Eq. 5-6 alone are order-blind: docs/reference/paper_to_code.md")
    view_heads: int = Field(4, ge=1)
    view_dropout: float = Field(0.1, ge=0, lt=1)
    beta: float = Field(0.1, ge=0, description="weight of the contrastive loss (Eq. 11); 0 turns it off")
    tau: float = Field(0.05, gt=0, description="temperature of the contrastive loss (Eq. 10)")
    answer_loss: Literal["vocabulary", "yes_no", "listwise"] = Field(
        "vocabulary",
        description="Eq. 12 over the whole vocabulary, or normalised over the two answers; listwise: a softmax of "
        "z_yes − z_no over a positive and its negatives, which is not the paper's; two heads have it, too",
    )
    recommendation_prompt: Prompt = Prompt(
        segments=(
            "recommend . history by behavior :",
            "history by text :",
            "candidate by behavior :",
            "candidate by text :",
            "answer :",
        )
    )
    search_prompt: Prompt = Prompt(
        segments=(
            "search {query} . history by behavior :",
            "history by text :",
            "candidate by behavior :",
            "candidate by text :",
            "answer :",
        )
    )

    @model_validator(mode="after")
    def _folds_can_be_read(self) -> ModelConfig:
        folds = self.departures.folds
        if folds == 1:
            raise ValueError("departures.folds is 1, which leaves no purchase to train on: give 2 or more, or 0")
        if folds and not self.freeze_cf:
            raise ValueError(
                "freeze_cf is false and departures.folds is not 0: a table that learns has learned from every "
                "purchase; choose one"
            )
        return self


class HistoryPrompt(Frozen):
    """The three text segments around the two history placeholders of full ranking; ``{query}`` may stand in any."""

    segments: tuple[str, str, str]


class FullDeparturesConfig(Frozen):
    """Full ranking's departures from the paper, all off. docs/reference/paper_to_code.md explains each."""

    item_vectors: bool = Field(
        False,
        description="AR: an item's logit is the product of the decoder's state with both vectors of the item, not with "
        "a token of its own. model.departures.cold_items is read, too",
    )
    shortcuts: bool = Field(
        False,
        description="AS: the history's mean and latest event, and the query's words, reach the output beside the T5",
    )
    neighbors: int = Field(
        0,
        ge=0,
        description="AT: counts are part of an item's logit: popularity, searches of the query that found it, and "
        "cosines with the history, of so many neighbors of each item. 0: none",
    )

    @model_validator(mode="after")
    def _need_item_vectors(self) -> FullDeparturesConfig:
        if not self.item_vectors and (self.shortcuts or self.neighbors):
            raise ValueError("shortcuts and neighbors add to what item_vectors makes: set item_vectors to true, too")
        return self


class FullRankingConfig(Frozen):
    """§6.3: GenSR generates an item of the whole catalogue. These settings add to ``model`` and ``train``."""

    departures: FullDeparturesConfig = FullDeparturesConfig()
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(128, ge=1, description="training samples in a micro-batch; there are no negatives")
    valid_samples: int = Field(1_000, ge=1, description="fixed validation samples per task while training")
    sampled_above: int = Field(100_000, ge=0, description="catalogues larger than this train with a sampled softmax")
    sampled_items: int = Field(8_192, ge=1, description="items drawn per batch for the sampled softmax")
    mask_met: bool = Field(True, description="leave out of the ranking what the user met before the sample")
    recommendation_prompt: HistoryPrompt = HistoryPrompt(
        segments=("recommend . history by behavior :", "history by text :", "item :")
    )
    search_prompt: HistoryPrompt = HistoryPrompt(
        segments=("search {query} . history by behavior :", "history by text :", "item :")
    )


class SemanticIdsConfig(Frozen):
    """TIGER's ids: residual quantization of item vectors. Preset `paper` has the official values of RQ-VAE."""

    method: Literal["rq_vae", "residual_kmeans"] = "rq_vae"
    vectors: str = Field(
        "tfidf", description="tfidf (TF-IDF and SVD of item text), cf (LightGCN), or a T5: a folder or hub name with /"
    )
    levels: int = Field(3, ge=1, description="codes of an item before the one that makes its id unique")
    codes: int = Field(64, ge=2, le=256, description="codes per level; generators have tokens for 256")
    distinct: bool = Field(
        True,
        description="items of equal codes before the last one each take a last code of their own, near ones first, "
        "where there are enough; TIGER's do not, and differ in the number after it",
    )
    hidden: tuple[PositiveInt, ...] = Field((128, 64), description="widths of the encoder; the decoder mirrors them")
    dim: int = Field(32, ge=1, description="width of the codes' vectors")
    steps: int = Field(10_000, ge=1)
    batch_size: int = Field(256, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    beta: float = Field(0.25, ge=0, description="weight of the commitment loss")

    @field_validator("vectors")
    @classmethod
    def _is_a_kind_of_vectors(cls, vectors: str) -> str:
        if vectors not in ("tfidf", "cf") and "/" not in vectors:
            raise ValueError(f"{vectors!r} is no kind of vectors: expected tfidf, cf, or a T5 folder, which has a /")
        return vectors
