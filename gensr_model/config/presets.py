"""Named presets: the starting values of each section."""

from __future__ import annotations

from typing import Any

from gensr_model.config.variants import DEPARTURE_VARIANTS, USUAL_VARIANTS

# Prompt length is cost: the encoder reads every token once per candidate.
_SHORT_PROMPTS = {
    "recommendation_prompt": {"segments": ("recommend", "", "item", "", "?")},
    "search_prompt": {"segments": ("search {query}", "", "item", "", "?")},
}
_SHORT_FULL_PROMPTS = {
    "recommendation_prompt": {"segments": ("recommend", "", "?")},
    "search_prompt": {"segments": ("search {query}", "", "?")},
}
# What ranked best on the validation split of real data: AK to AP in docs/reference/beyond_the_paper.md.
# `leave_one_out` was chosen on generated KuaiSAR files, where most queries are rare.
_SIX_DEPARTURES = {
    "searches_in_text": {"enabled": True, "share": 0.8, "leave_one_out": True},
    "folds": 6,
    "interaction": True,
    "query_interaction": True,
    "cold_items": 0.1,
    "filter_identity": True,
}
_REFERENCES = ("popularity", "item_knn", "lightgcn", "bm25", "same_query", "query_count", "query_user")
PRESETS: dict[str, dict[str, Any]] = {
    # What `make run` uses, minutes on two cores: a small T5 from scratch, with the departures of `best`.
    "demo": {
        "lightgcn": {"epochs": 40},
        "model": {
            **_SHORT_PROMPTS,
            "answer_loss": "yes_no",
            "departures": _SIX_DEPARTURES,
            "max_history": 20,
            "text": {"description_tokens": 32},
            "backbone": {"vocab_size": 2_000},
        },
        "train": {"learning_rate": 2e-3, "epochs": 3, "valid_samples": 300},
        "full_ranking": {**_SHORT_FULL_PROMPTS, "valid_samples": 300},
        "analysis": {
            "mine_samples": 2_000,
            "mine_steps": 300,
            "mine_seeds": 3,
            "space_samples": 300,
            "theorem_trials": 50,
        },
        # Small studies with a few trainings each. For more, set a section: `"rerank": {"systems": []}` is all systems.
        "rerank": {"systems": (*_REFERENCES, "qem", "sasrec", "two_head", "gensr"), "tune": False},
        "ablation": {"variants": ("no_cf_view", "no_semantic_view", "no_soft_filter", "no_contrastive")},
        "sweep": {"tau": (0.01, 0.05, 0.09), "beta": (0.001, 0.1, 0.3)},
    },
    # GenSR as the paper describes it, sized for about 60k interactions on two cores.
    "laptop": {"model": {**_SHORT_PROMPTS}, "train": {"epochs": 8}, "full_ranking": {**_SHORT_FULL_PROMPTS}},
    # `laptop` with six departures from the paper, which need fewer epochs. Full ranking has the departures AR to AT.
    "best": {
        "model": {
            **_SHORT_PROMPTS,
            "answer_loss": "yes_no",
            "departures": _SIX_DEPARTURES,
        },
        "train": {"learning_rate": 2e-3, "epochs": 5},
        "full_ranking": {
            **_SHORT_FULL_PROMPTS,
            "departures": {"item_vectors": True, "shortcuts": True, "neighbors": 200},
            "batch_size": 256,
            "epochs": 8,
        },
        "ablation": {"variants": (*USUAL_VARIANTS, *DEPARTURE_VARIANTS)},
    },
    # The first two layers of a pretrained flan-t5-small, by name or folder (model.backbone.name_or_path). The T5 knows
    # words before training and is small enough for a laptop. Not the paper's model: the loss is over the two answers.
    "small": {
        "model": {
            **_SHORT_PROMPTS,
            "max_history": 20,
            "answer_loss": "yes_no",
            "backbone": {"name_or_path": "google/flan-t5-small", "first_layers": 2},
        },
        "train": {"learning_rate": 3e-4, "epochs": 3},
        "full_ranking": {**_SHORT_FULL_PROMPTS},
    },
    # §6.1.3: flan-t5-base, the whole vocabulary, the paper's text.
    "paper": {
        "model": {"backbone": {"name_or_path": "google/flan-t5-base"}, "max_history": 30, "view_heads": 8},
        "train": {"learning_rate": 1e-4, "epochs": 10, "batch_size": 32},
        "lightgcn": {"epochs": 400, "patience": 10},
        # TIGER: Sentence-T5, 3 codebooks of 256; optimizer and steps as in the public RQ-VAE-Recommender.
        "semantic_ids": {
            "vectors": "sentence-transformers/sentence-t5-base",
            "codes": 256,
            "distinct": False,
            "hidden": (512, 256, 128),
            "steps": 400_000,
            "batch_size": 640,
        },
        # Models of this size train one at a time on the GPU.
        **{study: {"concurrency": 1} for study in ("rerank", "ablation", "sweep")},
    },
}
