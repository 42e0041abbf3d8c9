"""Owns the word tables that several tasks share. Knows no grammar, no task, no randomness.

A table is a tuple of entries; an entry is a word, or a tuple of words that stand for one meaning.
"""

from typing import Final

# Person nouns with regular plurals, grouped by meaning: any two words of an entry are near-synonyms.
PEOPLE: Final[tuple[tuple[str, ...], ...]] = (
    ("doctor", "physician"),
    ("teacher", "instructor"),
    ("lawyer", "attorney"),
    ("child", "kid"),
    ("soldier", "trooper"),
    ("student", "pupil"),
    ("author", "writer"),
    ("cook", "chef"),
    ("singer", "vocalist"),
    ("reporter", "journalist"),
    ("painter", "artist"),
    ("driver", "motorist"),
    ("man", "guy"),
    ("woman", "lady"),
    ("scientist", "researcher"),
    ("actor", "performer"),
    ("guard", "sentry"),
    ("thief", "robber"),
    ("sailor", "seaman"),
    ("farmer", "grower"),
)

# Objects that can be bought, carried, cleaned, hidden and sold. Same reading as PEOPLE.
THINGS: Final[tuple[tuple[str, ...], ...]] = (
    ("car", "automobile"),
    ("bicycle", "bike"),
    ("sofa", "couch"),
    ("statue", "sculpture"),
    ("trunk", "chest"),
    ("rug", "carpet"),
    ("cup", "mug"),
    ("phone", "telephone"),
    ("coat", "jacket"),
    ("hat", "cap"),
    ("barrel", "cask"),
    ("sword", "blade"),
    ("television", "TV"),
    ("bucket", "pail"),
    ("bag", "sack"),
    ("computer", "laptop"),
    ("boat", "ship"),
    ("lamp", "lantern"),
)

# Verbs that take any entry of THINGS, as (base, past = participle, -ing) forms.
HANDLINGS: Final[tuple[tuple[tuple[str, str, str], ...], ...]] = (
    (("buy", "bought", "buying"), ("purchase", "purchased", "purchasing")),
    (("repair", "repaired", "repairing"), ("fix", "fixed", "fixing")),
    (("inspect", "inspected", "inspecting"), ("examine", "examined", "examining")),
    (("hide", "hidden", "hiding"), ("conceal", "concealed", "concealing")),
    (("clean", "cleaned", "cleaning"), ("wash", "washed", "washing")),
    (("destroy", "destroyed", "destroying"), ("wreck", "wrecked", "wrecking")),
    (("lift", "lifted", "lifting"), ("raise", "raised", "raising")),
    (("carry", "carried", "carrying"), ("transport", "transported", "transporting")),
    (("draw", "drawn", "drawing"), ("sketch", "sketched", "sketching")),
    (("hold", "held", "holding"), ("grip", "gripped", "gripping")),
    (("choose", "chosen", "choosing"), ("select", "selected", "selecting")),
    (("sell", "sold", "selling"),),
)

FAMILY_NAMES: Final = (
    "Adams", "Baker", "Carter", "Dawson", "Ellis", "Foster", "Graham", "Harris", "Ingram", "Jensen", "Keller",
    "Lambert", "Morris", "Nolan", "Osborne", "Parker", "Quinn", "Reeves", "Sutton", "Turner", "Vance", "Walsh",
    "Young", "Fisher",
)  # fmt: skip
FIRST_NAMES: Final = (
    "Anna", "Brian", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Irene", "James", "Karen", "Louis",
    "Maria", "Nigel", "Olivia", "Peter", "Rachel", "Simon", "Teresa", "Victor",
)  # fmt: skip
CITIES: Final = (
    "Paris", "Chicago", "Tokyo", "Berlin", "Madrid", "Toronto", "Boston", "Dublin", "Sydney", "Rome", "Vienna",
    "Seattle", "Moscow", "Oslo", "Denver", "Lisbon", "Cairo", "Athens",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COMPANIES: Final = (
    "Northgate Steel", "Atlas Motors", "Sunrise Foods", "Delta Oil", "Global Media", "Pacific Bank", "Star Airways",
    "Union Paper", "Royal Insurance", "Summit Software", "Western Rail", "Crown Hotels", "Mercury Telecom",
    "Harbor Shipping", "Eagle Pharmaceuticals", "Liberty Stores",
)  # fmt: skip
