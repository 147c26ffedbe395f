"""The section on semantic ids: the stage's report in, tables out."""

from __future__ import annotations

from test_run_tables import facts
from test_study_sections import tables

from gensr_model.reporting import semantic_ids
from gensr_model.reporting.page import render

REPORT = {
    "method": "residual_kmeans",
    "vectors": "tfidf",
    "codes": 64,
    "items": 4_344,
    "items_without_vector": 3,
    "levels": [{"usage": 1.0, "perplexity": 57.04}, {"usage": 0.875, "perplexity": 40.0}],
    "collisions": 0.25,
    "nearest_collisions": 0.5,
    "pairs": 1_200,
    "random_pairs": 35.98,
    "largest_bucket": 17,
    "prefixes": [{"prefix": [3, 61], "items": 2, "titles": ["Hose <b>", "Lamp"]}],
}


def test_codebooks_collisions_and_prefixes_are_tables_of_a_section() -> None:
    made = facts(semantic_ids=REPORT)
    assert semantic_ids.section(facts()) is None
    assert tables(semantic_ids.section(made)) == {
        "ids-levels": [["1", "1.000", "57.0"], ["2", "0.875", "40.0"]],
        "ids-collisions": [
            ["Items", "4,344"],
            ["Items without a vector of their own", "3"],
            ["Collisions (1 − distinct codes / items)", "0.2500"],
            ["Collisions of the nearest codes", "0.5000"],
            ["Pairs of equal codes", "1,200"],
            ["Pairs that codes at random would have", "36.0"],
            ["Largest bucket", "17"],
        ],
        "ids-prefixes": [["3-61", "2", "Hose <b> · Lamp"]],
    }
    page = render(made)
    assert "Codebooks: residual k-means on tfidf vectors" in page
    assert "Hose &lt;b&gt; · Lamp" in page
