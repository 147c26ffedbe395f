"""Configs of the models: LightGCN, GenSR with its text, prompts and backbone, and full ranking."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from gensr_model.config.base import Frozen


class TextConfig(Frozen):
    """The fields of an item's text, each with a token budget of its own."""

    include_category: bool = Field(
        False, description="Include the category path. Queries made from categories then match the text word for word."
    )
    pooling: Literal["tokens", "fields"] = Field(
        "tokens",
        description="How an item's vector is averaged. `tokens`: over all tokens. `fields`: over the means of "
        "the fields, so that a short title weighs as much as a long description.",
    )
    category_tokens: int = Field(32, description="Token budget of the category path.")
    title_tokens: int = Field(48, description="Token budget of title and brand.")
    description_tokens: int = Field(128, description="Token budget of the description.")


class LightGCNConfig(Frozen):
    """LightGCN, trained on recommendation behavior only (§5.1.1 and footnote 2)."""

    dim: int = Field(64, ge=1, description="Width of the item and user vectors.")
    layers: int = Field(3, ge=0, description="Propagation layers.")
    learning_rate: float = Field(5e-3, gt=0, description="Learning rate.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight of the L2 penalty on the embeddings of a batch.")
    batch_size: int = Field(4096, ge=1, description="Training edges of the graph per batch.")
    max_steps: int = Field(
        50,
        ge=1,
        description="Steps per epoch at most. A graph with more edges than so many batches has larger batches.",
    )
    epochs: int = Field(60, ge=1, description="Largest number of epochs.")
    valid_samples: int = Field(
        10_000, ge=1, description="Fixed validation samples behind recall@20, or all where there are fewer."
    )
    patience: int = Field(6, ge=1, description="Evaluations without a better valid recall@20 before training stops.")


class BackboneConfig(Frozen):
    """The T5 inside GenSR: a pretrained T5, or a small one with a tokenizer trained on the corpus."""

    name_or_path: str | None = Field(
        None, description="Hub name or folder of a pretrained T5. Left out: a new T5 of the shape below."
    )
    first_layers: int | None = Field(
        None, description="Number of first layers to keep of a pretrained T5. Left out: all layers."
    )
    vocab_size: int = Field(8_000, description="Vocabulary size of the new tokenizer.")
    d_model: int = Field(64, description="Width of the hidden states of a new T5.")
    d_kv: int = Field(16, description="Width of one attention head of a new T5.")
    d_ff: int = Field(256, description="Width of the feed-forward layers of a new T5.")
    heads: int = Field(4, description="Attention heads of a new T5.")
    encoder_layers: int = Field(2, description="Encoder layers of a new T5.")
    decoder_layers: int = Field(1, description="Decoder layers of a new T5.")
    dropout: float = Field(0.1, description="Dropout of the T5, as a share.")


class Prompt(Frozen):
    """The five text segments of a task's prompt (Eq. 9). ``{query}`` may stand in any of them."""

    segments: tuple[str, str, str, str, str] = Field(
        description="Texts before, between and after the four placeholders."
    )


class SearchesInTextConfig(Frozen):
    """Departure AK: query words of training searches become a field of the found item's text (GenSR and two heads)."""

    enabled: bool = Field(False, description="Add the field to the text of items.")
    share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Share of the field in the vector of an item that has it. Within the field rare tokens weigh more.",
    )
    tokens: int = Field(64, ge=1, description="Token budget of the field.")
    leave_one_out: bool = Field(
        False,
        description="In training, drop from a search's positive the query words that only this search "
        "contributed. Otherwise the label leaks into the input.",
    )


class DeparturesConfig(Frozen):
    """GenSR's departures from the paper, all off by default. docs/reference/beyond_the_paper.md explains each by its
    letters.
    """

    searches_in_text: SearchesInTextConfig = Field(
        SearchesInTextConfig(), description="AK: training queries as a field of the item text."
    )
    folds: int = Field(
        0,
        ge=0,
        description="AL, cross-fitting: number of further LightGCN tables, each trained without one fold of the "
        "purchases. A training sample reads the table that has not seen its purchase. All else reads "
        "the common table. 0: none.",
    )
    interaction: bool = Field(
        False, description="AM: the history's placeholders also hold the product of history and candidate."
    )
    query_interaction: bool = Field(
        False, description="AN: the candidate's text placeholder also holds the product of candidate and query."
    )
    cold_items: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="AO: share of a training batch's items that are treated as new items. They get the CF "
        "table's cold vector and no searches in the text. Without such items a model learns that new "
        "items are never liked.",
    )
    filter_identity: bool = Field(
        False,
        description="AP: the four matrices of the soft filter start as identities, not at random. The filter "
        "then starts as the mean of the history, weighted by likeness to the candidate.",
    )
    item_embedding: bool = Field(
        False,
        description="AJ: each item has a learned vector that is added to the vector of its text. It starts at zero.",
    )


class ModelConfig(Frozen):
    """GenSR (§5), with a switch for every part that the paper's ablations take away."""

    backbone: BackboneConfig = BackboneConfig()
    text: TextConfig = TextConfig()
    departures: DeparturesConfig = DeparturesConfig()
    max_history: int = Field(30, ge=1, description="Latest events that a history holds.")
    max_query_tokens: int = Field(16, ge=1, description="Largest number of query tokens in the prompt.")
    cf_view: bool = Field(True, description="Use the collaborative view (CF).")
    semantic_view: bool = Field(True, description="Use the semantic view.")
    soft_filter: bool = Field(True, description="Filter each history by the candidate (Eq. 7 and 8).")
    freeze_cf: bool = Field(True, description="Keep LightGCN's item vectors fixed in training.")
    behavior_embedding: bool = Field(True, description="Add the behavior type b_n of H_u to both views.")
    position_embedding: bool = Field(
        True, description="Add the position in the history to both views. Eq. 5 and 6 do not see the order of events."
    )
    view_heads: int = Field(4, ge=1, description="Attention heads of the view encoders and soft filters.")
    view_dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of the views, as a share.")
    beta: float = Field(0.1, ge=0, description="Weight of the contrastive loss (Eq. 11). 0 turns the loss off.")
    tau: float = Field(0.05, gt=0, description="Temperature of the contrastive loss (Eq. 10).")
    answer_loss: Literal["vocabulary", "yes_no", "listwise"] = Field(
        "vocabulary",
        description="Loss of the answer, also of the two-head model for `listwise`. `vocabulary`: Eq. 12 over "
        "the whole vocabulary. `yes_no`: normalised over the two answers. `listwise`: a softmax of "
        "z_yes − z_no over a positive and its negatives, which is not the paper's.",
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
            raise ValueError(
                "departures.folds is 1, which leaves no purchase to train on. Set it to 2 or more, or to "
                "0 for no folds."
            )
        if folds and not self.freeze_cf:
            raise ValueError(
                f"freeze_cf is false and departures.folds is {folds}, but a table that learns in "
                "training sees every purchase. Set freeze_cf to true or departures.folds to 0."
            )
        return self


class HistoryPrompt(Frozen):
    """The three text segments around the two history placeholders of full ranking. ``{query}`` may stand in any of
    them.
    """

    segments: tuple[str, str, str] = Field(description="Texts before, between and after the two placeholders.")


class FullDeparturesConfig(Frozen):
    """Full ranking's departures from the paper, off by default. docs/reference/beyond_the_paper.md explains each."""

    item_vectors: bool = Field(
        False,
        description="AR: an item's logit is the product of the decoder's state with both vectors of the item, "
        "not with an item token. `model.departures.cold_items` then applies too.",
    )
    shortcuts: bool = Field(
        False,
        description="AS: the mean and the latest event of the history, and the query's words, reach the output "
        "beside the T5.",
    )
    neighbors: int = Field(
        0,
        ge=0,
        description="AT: add counts to an item's logit: popularity, searches of the query that found the item, "
        "and cosines with the history. The value is the number of neighbors of each item that have a "
        "cosine. 0: no counts.",
    )

    @model_validator(mode="after")
    def _need_item_vectors(self) -> FullDeparturesConfig:
        if not self.item_vectors and (self.shortcuts or self.neighbors):
            raise ValueError(
                "shortcuts or neighbors is on, but item_vectors is false. Set item_vectors to true, or "
                "the others to false and 0."
            )
        return self


class FullRankingConfig(Frozen):
    """Full ranking (§6.3): GenSR generates an item of the whole catalogue. These settings add to ``model`` and
    ``train``.
    """

    departures: FullDeparturesConfig = FullDeparturesConfig()
    epochs: int = Field(10, ge=1, description="Largest number of epochs.")
    batch_size: int = Field(128, ge=1, description="Training samples in a micro-batch. Full ranking has no negatives.")
    valid_samples: int = Field(1_000, ge=1, description="Fixed validation samples per task during training.")
    sampled_above: int = Field(
        100_000, ge=0, description="Number of items above which training uses a sampled softmax."
    )
    sampled_items: int = Field(8_192, ge=1, description="Items drawn per batch for the sampled softmax.")
    mask_met: bool = Field(True, description="Leave items out of the ranking that the user met before the sample.")
    recommendation_prompt: HistoryPrompt = HistoryPrompt(
        segments=("recommend . history by behavior :", "history by text :", "item :")
    )
    search_prompt: HistoryPrompt = HistoryPrompt(
        segments=("search {query} . history by behavior :", "history by text :", "item :")
    )


class SemanticIdsConfig(Frozen):
    """TIGER's semantic ids: residual quantization of item vectors. Preset `paper` has the official values of RQ-VAE."""

    method: Literal["rq_vae", "residual_kmeans"] = Field("rq_vae", description="How item vectors become codes.")
    vectors: str = Field(
        "tfidf",
        description="Item vectors to quantize. `tfidf`: TF-IDF and SVD of the item text. `cf`: LightGCN. Else a "
        "T5: a folder or hub name that contains /.",
    )
    levels: int = Field(3, ge=1, description="Codes of an item before the last code, which makes its id unique.")
    codes: int = Field(64, ge=2, le=256, description="Codes per level. The generators have tokens for at most 256.")
    distinct: bool = Field(
        True,
        description="Give items that share all earlier codes distinct codes on the last level, nearest items "
        "first, as far as there are enough codes. If false, only the number after the codes tells "
        "such items apart, as in TIGER.",
    )
    hidden: tuple[PositiveInt, ...] = Field(
        (128, 64), description="Widths of the encoder's layers. The decoder mirrors them."
    )
    dim: int = Field(32, ge=1, description="Width of the code vectors.")
    steps: int = Field(10_000, ge=1, description="Training steps.")
    batch_size: int = Field(256, ge=1, description="Items per batch.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate of the optimizer.")
    beta: float = Field(0.25, ge=0, description="Weight of the commitment loss.")

    @field_validator("vectors")
    @classmethod
    def _is_a_kind_of_vectors(cls, vectors: str) -> str:
        if vectors not in ("tfidf", "cf") and "/" not in vectors:
            raise ValueError(
                f"{vectors!r} is no kind of vectors. Set it to tfidf, cf, or a T5's folder or hub name, "
                "which contains a /."
            )
        return vectors
