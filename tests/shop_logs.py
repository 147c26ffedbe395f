"""Own logs as a shop has them: CSV files with queries in several scripts, which a model can learn from."""

from __future__ import annotations

import csv
import random
from pathlib import Path

KINDS = ("Bücher", "红色 连衣裙", "Straße", "red shoe", "кофе чёрный", "ねこ", "हिन्दी")


def shop(folder: Path, searches: float, users: int = 120, items: int = 140, each: int = 9, days: int = 10) -> Path:
    """Users with a taste for one kind of items each; a share of their clicks are searches for the kind's words."""
    draw = random.Random(0)
    folder.mkdir()
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(f"i{n}", f"{KINDS[n % 7]} {n}", f"Home > {KINDS[n % 7]}") for n in range(items)]
        csv.writer(file).writerows([("sku", "title", "category"), *rows])
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "sku", "timestamp", "event_type", "query"))
        for user in range(users):
            for _ in range(each):
                item, time = draw.randrange(items // 7) * 7 + user % 7, 1_700_000_000 + draw.randrange(days * 86_400)
                query = KINDS[item % 7].upper() if draw.random() < searches else ""
                writer.writerow((f"u{user}", f"i{item}", time, "click", query))
    return folder
