"""The words of the generated shop, English / German: departments, leaf categories, kinds of product, colours."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """One meaning in both languages."""

    en: str
    de: str


def _words(text: str) -> list[Words]:
    return [Words(*pair.strip().split("/")) for pair in text.split(",")]


# department: {leaf category: four kinds of product}
_TREE = {
    "Kitchen": {
        "Tea & Coffee/Tee & Kaffee": "teapot/Teekanne, kettle/Wasserkocher, "
        "coffee grinder/Kaffeemühle, milk jug/Milchkännchen",
        "Cookware/Töpfe & Pfannen": "frying pan/Bratpfanne, saucepan/Stieltopf, stockpot/Suppentopf, lid/Topfdeckel",
        "Baking/Backen": "muffin tin/Muffinform, rolling pin/Nudelholz, loaf pan/Kastenform, pastry brush/Backpinsel",
        "Tableware/Geschirr": "bowl/Schüssel, plate/Teller, mug/Becher, salad servers/Salatbesteck",
    },
    "Garden": {
        "Watering/Bewässerung": "watering can/Gießkanne, hose/Gartenschlauch, "
        "sprinkler/Rasensprenger, spray bottle/Sprühflasche",
        "Planters/Pflanzgefäße": "flower pot/Blumentopf, window box/Balkonkasten, "
        "seed tray/Anzuchtschale, hanging basket/Ampel",
        "Garden Tools/Gartengeräte": "pruning shears/Rosenschere, rake/Rechen, spade/Spaten, wheelbarrow/Schubkarre",
        "Birds/Vögel": "bird feeder/Futterhäuschen, nest box/Nistkasten, bird bath/Vogeltränke, fat balls/Meisenknödel",
    },
    "Home": {
        "Bedding/Bettwäsche": "duvet cover/Bettbezug, pillow/Kopfkissen, bed sheet/Bettlaken, blanket/Wolldecke",
        "Bathroom/Badezimmer": "bath mat/Fußmatte, towel/Handtuch, soap dish/Seifenschale, shower curtain/Duschvorhang",
        "Lighting/Leuchten": "desk lamp/Schreibtischlampe, lantern/Laterne, "
        "candle holder/Kerzenständer, fairy lights/Lichterkette",
        "Storage/Aufbewahrung": "storage box/Kiste, basket/Korb, coat hook/Kleiderhaken, shoe rack/Schuhregal",
    },
    "Stationery & Craft": {
        "Writing/Schreibwaren": "fountain pen/Füller, pencil/Bleistift, notebook/Notizbuch, ink/Tinte",
        "Painting/Malen": "watercolours/Aquarellfarben, easel/Staffelei, paint brush/Pinsel, canvas/Leinwand",
        "Sewing/Nähen": "scissors/Schere, thread/Nähgarn, thimble/Fingerhut, pin cushion/Nadelkissen",
        "Knitting/Stricken": "wool/Wolle, knitting needles/Stricknadeln, "
        "crochet hook/Häkelnadel, stitch markers/Maschenmarkierer",
    },
    "Outdoors": {
        "Camping/Zelten": "tent/Zelt, sleeping bag/Schlafsack, camping stove/Gaskocher, camping chair/Campingstuhl",
        "Hiking/Wandern": "hiking boots/Wanderschuhe, backpack/Rucksack, walking poles/Wanderstöcke, compass/Kompass",
        "Cycling/Radfahren": "bicycle bell/Fahrradklingel, bicycle pump/Luftpumpe, "
        "saddle bag/Satteltasche, cycle lock/Fahrradschloss",
        "Swimming/Schwimmen": "goggles/Schwimmbrille, swimming cap/Badekappe, "
        "beach towel/Strandtuch, beach ball/Wasserball",
    },
    "Games & Toys": {
        "Board Games/Brettspiele": "dice/Würfel, card game/Kartenspiel, chess set/Schachspiel, dice cup/Würfelbecher",
        "Puzzles/Rätsel & Puzzles": "wooden puzzle/Holzpuzzle, jigsaw/Landschaftspuzzle, "
        "puzzle mat/Puzzlematte, brain teaser/Knobelspiel",
        "Dolls & Plush/Puppen & Plüsch": "teddy bear/Teddybär, doll/Puppe, hand puppet/Handpuppe, plush owl/Plüscheule",
        "Building/Bauen": "building blocks/Bauklötze, marble run/Kugelbahn, "
        "toy railway/Holzeisenbahn, model kit/Modellbausatz",
    },
}  # fmt: skip
DEPARTMENTS = list(_TREE)
#: (department, name, kinds of product) of each leaf category.
LEAVES = [
    (number, Words(*name.split("/")), _words(kinds))
    for number, department in enumerate(DEPARTMENTS)
    for name, kinds in _TREE[department].items()
]
COLOURS = _words(
    "red/rot, blue/blau, green/grün, yellow/gelb, black/schwarz, white/weiß, grey/grau, brown/braun, "
    "light blue/hellblau"
)
SIZES = _words("/, small/klein, large/groß, set of 2/2er-Set, pack of 6/6 Stück")
