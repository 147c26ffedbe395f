"""Semantic ids in a report: use of the codebooks, and titles that share a prefix."""

from __future__ import annotations

from typing import Any

from gensr_model.reporting.run_facts import RunFacts
from gensr_model.reporting.sections import Section, note, table
from gensr_model.reporting.tables import Column, Table, count, number, text

_METHODS = {"rq_vae": "RQ-VAE", "residual_kmeans": "residual k-means"}


def section(facts: RunFacts) -> Section | None:
    """The tables of the run's codes. None where the run made none."""
    if not facts.semantic_ids:
        return None
    words = (
        "A code counts as used if an item has it. Perplexity is the number of codes that would be used as evenly. "
        "Items of one bucket have the same codes, and a last code numbers them."
    )
    return Section("semantic-ids", "Semantic ids", [*map(table, tables(facts.semantic_ids)), note(words)])


def tables(report: dict[str, Any]) -> list[Table]:
    """Use of each level, collisions, and ten prefixes with titles, of the stage's ``report.json``."""
    made = f"{_METHODS[report['method']]} on {report['vectors']} vectors"
    levels = [
        [count(level), number(values["usage"], 3), number(values["perplexity"], 1)]
        for level, values in enumerate(report["levels"], start=1)
    ]
    what = {
        "Items": count(report["items"]),
        "Items without a vector of their own": count(report["items_without_vector"]),
        "Collisions (1 − distinct codes / items)": number(report["collisions"]),
        "Collisions of the nearest codes": number(report["nearest_collisions"]),
        "Pairs of equal codes": count(report["pairs"]),
        "Pairs that codes at random would have": number(report["random_pairs"], 1),
        "Largest bucket": count(report["largest_bucket"]),
    }
    prefixes = [
        [text("-".join(map(str, row["prefix"]))), count(row["items"]), text(" · ".join(row["titles"]))]
        for row in report["prefixes"]
    ]
    columns = [Column("Level"), Column("Used"), Column(f"Perplexity of {report['codes']}")]
    return [
        Table("ids-levels", f"Codebooks: {made}", columns, levels, sortable=False),
        Table("ids-collisions", "Collisions", [Column("What", False), Column("Value")],
              [[text(name), value] for name, value in what.items()], sortable=False),
        Table("ids-prefixes", "Ten prefixes, drawn by the seed, and titles under them",
              [Column("Prefix", False), Column("Items"), Column("Titles", False)], prefixes, sortable=False),
    ]  # fmt: skip
