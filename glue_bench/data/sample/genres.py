"""Owns the vocabularies of the two MNLI-like genres. Knows no grammar, no labels."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A general noun and specific ones under it: every member is one, and no two members are the same."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Genre:
    """The words of one genre."""

    people: tuple[Kind, ...]
    things: tuple[Kind, ...]
    # What can be done to any thing, each with its opposite: (wordings, wordings of the opposite).
    deeds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    places: tuple[str, ...]
    # (state, opposite): nobody is both, anybody is one of the two.
    states: tuple[tuple[str, str], ...]


EVERYDAY: Final = Genre(
    people=(
        Kind(name="musician", members=("drummer", "violinist", "pianist", "guitarist", "trumpeter")),
        Kind(name="athlete", members=("swimmer", "runner", "boxer", "skier", "gymnast")),
        Kind(name="relative", members=("aunt", "uncle", "cousin", "nephew", "niece")),
        Kind(name="performer", members=("clown", "dancer", "magician", "acrobat", "juggler")),
        Kind(name="scientist", members=("biologist", "chemist", "physicist", "geologist", "astronomer")),
    ),
    things=(
        Kind(name="flower", members=("rose", "tulip", "lily", "daisy", "orchid")),
        Kind(name="tool", members=("hammer", "saw", "drill", "wrench", "shovel")),
        Kind(name="fruit", members=("peach", "pear", "plum", "mango", "lemon")),
        Kind(name="dessert", members=("cake", "pie", "pudding", "cookie", "donut")),
        Kind(name="toy", members=("doll", "kite", "puzzle", "balloon", "yo-yo")),
        Kind(name="garment", members=("coat", "shirt", "skirt", "sweater", "scarf")),
    ),
    deeds=(
        (("buying", "purchasing"), ("selling", "peddling")),
        (("hiding", "concealing"), ("showing", "displaying")),
        (("lifting", "picking up"), ("lowering", "putting down")),
        (("choosing", "selecting"), ("rejecting", "turning down")),
        (("keeping", "holding on to"), ("giving away", "donating")),
        (("wrapping", "packing"), ("unwrapping", "unpacking")),
    ),
    places=(
        "in the kitchen",
        "in the park",
        "at school",
        "on the bus",
        "at the market",
        "in the garden",
        "at home",
        "in the hall",
    ),
    states=(
        ("awake", "asleep"),
        ("present", "absent"),
        ("left-handed", "right-handed"),
        ("married", "single"),
        ("sober", "drunk"),
        ("employed", "out of work"),
    ),
)

ADVENTURE: Final = Genre(
    people=(
        Kind(name="noble", members=("duke", "baron", "prince", "countess", "lord")),
        Kind(name="criminal", members=("thief", "smuggler", "forger", "pirate", "kidnapper")),
        Kind(name="soldier", members=("archer", "sniper", "sergeant", "captain", "colonel")),
        Kind(name="official", members=("mayor", "judge", "senator", "ambassador", "governor")),
    ),
    things=(
        Kind(name="weapon", members=("sword", "spear", "dagger", "rifle", "pistol")),
        Kind(name="gem", members=("ruby", "emerald", "diamond", "sapphire", "pearl")),
        Kind(name="animal", members=("horse", "goat", "mule", "camel", "donkey")),
        Kind(name="boat", members=("canoe", "ferry", "raft", "kayak", "yacht")),
    ),
    deeds=(
        (("stealing", "seizing"), ("returning", "bringing back")),
        (("burying", "covering up"), ("digging up", "unearthing")),
        (("accepting", "receiving"), ("refusing", "declining")),
        (("saving", "rescuing"), ("destroying", "wrecking")),
        (("guarding", "protecting"), ("abandoning", "neglecting")),
    ),
    places=(
        "in the castle",
        "on the island",
        "in the desert",
        "at the harbor",
        "in the palace",
        "near the border",
        "in the cave",
    ),
    states=(
        ("alive", "dead"),
        ("guilty", "innocent"),
        ("free", "locked up"),
        ("armed", "unarmed"),
        ("safe", "in danger"),
    ),
)
