"""The words of the generated world: a category tree in plain English, and invented words for the rest."""

from __future__ import annotations

import numpy as np

STORE = "Harbour & Hearth"

# department: (Chinese name, {leaf category: kinds of product})
TREE: dict[str, tuple[str, dict[str, str]]] = {
    "Kitchen & Dining": (
        "厨房",
        {
            "Cookware": "skillet saucepan stockpot griddle",
            "Bakeware": "loaf-pan muffin-tin pie-dish rolling-pin",
            "Coffee & Tea": "kettle teapot grinder press",
            "Cutlery": "paring-knife cleaver whetstone carving-fork",
            "Food Storage": "canister lunchbox jar bread-bin",
            "Tableware": "bowl platter tumbler ramekin",
        },
    ),
    "Garden & Patio": (
        "园艺",
        {
            "Planters": "flowerpot trough hanging-basket seed-tray",
            "Watering": "hose sprinkler watering-can nozzle",
            "Bird Feeding": "feeder birdbath nest-box suet-cage",
            "Pruning Tools": "secateurs loppers hedge-shears pruning-saw",
            "Outdoor Lighting": "lantern path-light string-lights torch",
            "Composting": "compost-bin turner worm-farm soil-sieve",
        },
    ),
    "Music Making": (
        "音乐",
        {
            "Guitars": "capo plectrum guitar-strap string-set",
            "Percussion": "tambourine snare cajon drumsticks",
            "Keyboards": "piano-stool sustain-pedal keytar synth",
            "Woodwind": "clarinet-reed recorder flute-swab ocarina",
            "Recording": "microphone pop-filter mixer headphones",
            "Sheet Music": "songbook music-stand etudes fakebook",
        },
    ),
    "Camping & Hiking": (
        "户外",
        {
            "Tents": "dome-tent tarp groundsheet tent-pegs",
            "Sleeping Gear": "sleeping-bag camp-bed inflating-mat bivvy",
            "Backpacks": "daypack rucksack rain-cover hip-pack",
            "Camp Cooking": "gas-stove mess-kit spork fire-steel",
            "Navigation": "compass map-case altimeter whistle",
            "Footwear": "gaiters hiking-boots insoles bootlaces",
        },
    ),
    "Toys & Puzzles": (
        "玩具",
        {
            "Board Games": "dice-tower tile-game trivia-box card-deck",
            "Jigsaws": "panorama mini-jigsaw puzzle-mat frame-tray",
            "Building Sets": "brick-box marble-run gear-set baseplate",
            "Plush": "teddy hand-puppet cushion-owl comforter",
            "Model Railways": "locomotive turnout signal-box wagon",
            "Kites & Flight": "glider delta-kite boomerang parafoil",
        },
    ),
    "Stationery & Craft": (
        "文具",
        {
            "Notebooks": "journal sketchbook planner pocket-diary",
            "Pens & Ink": "fountain-pen rollerball ink-bottle blotter",
            "Painting": "watercolours easel canvas brush-roll",
            "Paper Craft": "origami-pad guillotine hole-punch cardstock",
            "Sewing": "thimble bobbins pinking-scissors pattern-kit",
            "Knitting": "yarn-skein stitch-markers needles wool-winder",
        },
    ),
    "Pet Supplies": (
        "宠物",
        {
            "Dog Walking": "harness leash clicker treat-pouch",
            "Cat Play": "scratcher feather-wand tunnel catnip-mouse",
            "Aquariums": "pump gravel-vac thermometer moss-ball",
            "Small Animals": "hutch exercise-wheel hay-rack burrow",
            "Pet Grooming": "deshedder nail-clipper shampoo slicker",
            "Pet Beds": "bolster cat-cave cooling-pad blanket",
        },
    ),
    "Workshop & Repair": (
        "工具",
        {
            "Hand Tools": "chisel mallet spokeshave try-square",
            "Fasteners": "coach-bolt washer-kit wall-plug rivet",
            "Measuring": "calliper tape-measure spirit-level gauge",
            "Abrasives": "sandpaper polishing-wheel wire-brush rasp",
            "Adhesives": "wood-glue epoxy masking-tape sealant",
            "Electrical Repair": "fuse-box multimeter cable-tie terminal",
        },
    ),
}

QUALITIES = (
    *("sturdy", "compact", "classic", "slim", "folding", "handmade", "lightweight", "deluxe", "everyday"),
    *("vintage", "reversible", "stackable", "quiet", "waterproof", "ribbed", "oversized", "adjustable"),
    *("portable", "rustic", "heavy-duty"),
)
SIZES = ("Small", "Large", "Pack of 2", "Pack of 6", "Set of 4", "Twin Pack", "10 Inch", "24 Piece")
PRAISE = (
    "does exactly what it should",
    "bought a second one for my sister",
    "good value and arrived on time",
    "smaller than I expected but well made",
    "broke after a month of use",
    "would buy it again without a doubt",
)

_ONSETS = (*"bcdfghklmnprstvwz", "br", "cl", "dr", "fl", "gr", "pr", "qu", "sh", "st", "tr")
_VOWELS = (*"aeiou", "ai", "ea", "ou")
_CODAS = (*"lnrsxm", "th", "nd", "rk", "lm", "st", "ff")


def invented(rng: np.random.Generator, count: int) -> list[str]:
    """``count`` distinct pronounceable words of two or three syllables that no dictionary has to hold."""
    words: dict[str, None] = {}
    while len(words) < count:
        n = 2 * (count - len(words)) + 16
        part = [rng.choice(np.array(p), n) for p in (_ONSETS, _VOWELS, _ONSETS, _VOWELS, _CODAS)]
        for a, b, c, d, e in zip(*part, strict=True):
            words[f"{a}{b}{c}{d}{e}"] = None
    return list(words)[:count]
