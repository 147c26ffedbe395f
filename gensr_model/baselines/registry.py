"""All baselines by name. A new baseline needs a file with its ``Baseline`` and a line here."""

from __future__ import annotations

from gensr_model.baselines.base import BaselineSpec, Grid
from gensr_model.baselines.bert4rec import BERT4Rec
from gensr_model.baselines.bsr import BSR
from gensr_model.baselines.collm import CoLLM
from gensr_model.baselines.din import DIN
from gensr_model.baselines.fmlp_rec import FMLPRec
from gensr_model.baselines.genret import GenRet
from gensr_model.baselines.gru4rec import GRU4Rec
from gensr_model.baselines.idgenrec import IDGenRec
from gensr_model.baselines.jsr import JSR
from gensr_model.baselines.nrhub import NRHUB
from gensr_model.baselines.product_search import AEM, HEM, QEM, ZAM
from gensr_model.baselines.query_seqrec import QuerySeqRec
from gensr_model.baselines.sasrec import SASRec
from gensr_model.baselines.sesrec import SESRec
from gensr_model.baselines.tem import TEM, CoPPS
from gensr_model.baselines.tiger import TIGER
from gensr_model.baselines.unified_ssr import UnifiedSSR
from gensr_model.baselines.unisar import UniSAR
from gensr_model.baselines.user import USER

# Grids to tune; the first value of each hyperparameter is its default. Some names go to the trainer (``OF_TRAINER`` of
# gensr_model/training/baseline.py), other names to the model. A grid needs at least `rerank.trials` points, or the run
# is refused. docs/results/studies.md lists the tried values.
LEARNING: Grid = {"learning_rate": (3e-3, 1e-3, 1e-2), "weight_decay": (0.01, 0.1)}
OVER_CATALOGUE: Grid = {"loss": ("catalogue", "bce")}
HISTORY: Grid = {"min_history": (1, 0)}  # whether training uses samples without history
SEQUENCE: Grid = OVER_CATALOGUE | HISTORY  # for a model of one sequence
PRODUCT_SEARCH: Grid = OVER_CATALOGUE | {"word_weight": (1.0, 0.1)}

# Weights of search and of both alignments: from the authors' file for KuaiSAR, from their file for Amazon, and the
# former with a search weight of 1.
UNISAR = ((0.1, 0.1, 0.001), (0.01, 0.01, 0.1), (1.0, 0.1, 0.001))

# For the generative baselines, which train a T5 from scratch.
GENERATING: Grid = {"learning_rate": (2e-3, 1e-3, 5e-4), "weight_decay": (0.01, 0.1), "batch_size": (128,)}

BASELINES: dict[str, BaselineSpec] = {
    "sasrec": BaselineSpec(SASRec, "SASRec", "recommendation", LEARNING | {"dropout": (0.5, 0.2)} | SEQUENCE),
    "qem": BaselineSpec(QEM, "QEM", "search", LEARNING | PRODUCT_SEARCH),
    "hem": BaselineSpec(HEM, "HEM", "search", LEARNING | PRODUCT_SEARCH),
    "aem": BaselineSpec(AEM, "AEM", "search", LEARNING | PRODUCT_SEARCH),
    "zam": BaselineSpec(ZAM, "ZAM", "search", LEARNING | PRODUCT_SEARCH),
    "din": BaselineSpec(DIN, "DIN", "recommendation", LEARNING | {"dropout": (0.2, 0.0), "negatives": (4, 32)}),
    "gru4rec": BaselineSpec(GRU4Rec, "GRU4Rec", "recommendation", LEARNING | SEQUENCE),
    "bert4rec": BaselineSpec(BERT4Rec, "BERT4Rec", "recommendation", LEARNING | {"mask_share": (0.2, 0.5)} | HISTORY),
    "fmlp_rec": BaselineSpec(FMLPRec, "FMLP-Rec", "recommendation", LEARNING | {"dropout": (0.5, 0.2)} | SEQUENCE),
    "tem": BaselineSpec(TEM, "TEM", "search", LEARNING | PRODUCT_SEARCH),
    "copps": BaselineSpec(CoPPS, "CoPPS", "search", LEARNING | {"contrast_weight": (0.1, 0.01)} | OVER_CATALOGUE),
    "nrhub": BaselineSpec(
        NRHUB, "NRHUB", "search-enhanced", LEARNING | {"dropout": (0.2, 0.0), "loss": ("catalogue", "listwise")}
    ),
    "query_seqrec": BaselineSpec(QuerySeqRec, "Query-SeqRec", "search-enhanced", LEARNING | {"replace": (0.2, 0.0)}),
    "sesrec": BaselineSpec(SESRec, "SESRec", "search-enhanced", LEARNING | {"align_weight": (0.1, 0.01)}),
    "jsr": BaselineSpec(JSR, "JSR", "joint", LEARNING | {"word_weight": (1.0, 0.1), "loss": ("catalogue", "bpr")}),
    "user": BaselineSpec(USER, "USER", "joint", LEARNING | {"dropout": (0.1, 0.3)} | OVER_CATALOGUE),
    "unified_ssr": BaselineSpec(UnifiedSSR, "UnifiedSSR", "joint", LEARNING | {"dropout": (0.5, 0.2)}),
    "bsr": BaselineSpec(BSR, "BSR", "joint", GENERATING),
    "collm": BaselineSpec(CoLLM, "CoLLM", "recommendation", GENERATING),
    "idgenrec": BaselineSpec(IDGenRec, "IDGenRec", "recommendation", GENERATING),
    "tiger": BaselineSpec(TIGER, "TIGER", "recommendation", GENERATING, reranks=False),
    "genret": BaselineSpec(GenRet, "GenRet", "search", GENERATING, reranks=False),
    "unisar": BaselineSpec(UniSAR, "UniSAR", "joint", LEARNING | {"weights": UNISAR}),
}

WRITES_WORDS = frozenset({"idgenrec"})  # not for a format with anonymised texts (``FormatFacts.anonymised``)
