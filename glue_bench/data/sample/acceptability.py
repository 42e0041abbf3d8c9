"""Owns the CoLA-like task: sentences that keep or break one rule of English grammar.

Each rule is a crossing: the same words occur equally often in good and in bad sentences, only their match or
their order tells the label (1 acceptable, 0 unacceptable).
"""

from collections.abc import Callable
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish, pluralize, third_person
from glue_bench.data.sample.words import FIRST_NAMES

UNACCEPTABLE, ACCEPTABLE = 0, 1

NOUNS: Final = (
    "teacher", "student", "doctor", "driver", "farmer", "singer", "lawyer", "painter", "neighbor", "child", "sailor",
    "guard", "tourist", "cousin", "waiter", "pilot", "actor", "soldier", "boy", "girl", "nurse", "clerk", "king",
    "poet",
)  # fmt: skip
OBJECTS: Final = (
    "letter", "picture", "book", "cake", "map", "box", "chair", "ticket", "bottle", "coat", "lamp", "report", "basket",
    "clock", "hammer", "ring", "blanket", "mirror",
)  # fmt: skip
LINKS: Final = ("near", "behind", "beside", "with", "next to", "in front of")
STATES: Final = (
    "happy", "tired", "late", "ready", "hungry", "famous", "angry", "quiet", "busy", "honest", "sick", "polite",
)  # fmt: skip
# No object may follow these ...
INTRANSITIVES: Final = (
    "slept", "laughed", "sneezed", "arrived", "vanished", "coughed", "smiled", "yawned", "wept", "fainted", "dozed",
    "snored",
)  # fmt: skip
# ... and these, as (base, past), must have one.
TRANSITIVES: Final = (
    ("buy", "bought"),
    ("find", "found"),
    ("take", "took"),
    ("carry", "carried"),
    ("bring", "brought"),
    ("fetch", "fetched"),
    ("want", "wanted"),
    ("repair", "repaired"),
    ("borrow", "borrowed"),
    ("mention", "mentioned"),
    ("admire", "admired"),
    ("keep", "kept"),
)
TIMES: Final = ("yesterday", "last night", "this morning", "on Sunday", "again", "after lunch")
# (base, past, participle, -ing), all different, of verbs that take any of the objects.
VERBS: Final = (
    ("see", "saw", "seen", "seeing"),
    ("steal", "stole", "stolen", "stealing"),
    ("draw", "drew", "drawn", "drawing"),
    ("choose", "chose", "chosen", "choosing"),
    ("hide", "hid", "hidden", "hiding"),
    ("take", "took", "taken", "taking"),
    ("give up", "gave up", "given up", "giving up"),
    ("throw away", "threw away", "thrown away", "throwing away"),
    ("forget", "forgot", "forgotten", "forgetting"),
)
# Which of the four forms each auxiliary needs.
AUXILIARIES: Final = (("will", 0), ("can", 0), ("did not", 0), ("has", 2), ("had", 2), ("is", 3), ("was", 3))
MOVES: Final = ("walk", "run", "swim", "sit", "wait", "work", "sing", "talk")
SPOTS: Final = (
    "the river",
    "the station",
    "the park",
    "the school",
    "the bridge",
    "the market",
    "the wall",
    "the lake",
)
MALES: Final = (
    "boy",
    "king",
    "father",
    "man",
    "uncle",
    "waiter",
    "prince",
    "son",
    "monk",
    "brother",
    "husband",
    "nephew",
)
FEMALES: Final = (
    "girl", "queen", "mother", "woman", "aunt", "waitress", "princess", "daughter", "nun", "sister", "wife", "niece",
)  # fmt: skip
REFLEXIVE_VERBS: Final = ("hurt", "saw", "blamed", "admired", "washed", "praised", "defended", "fooled", "criticized")


def _break_agreement(chooser: Chooser, label: int) -> str:
    """Subject and verb agree in number; often a noun of the other number stands between them."""
    good = label == ACCEPTABLE
    subject, other = chooser.pick_two(NOUNS)
    plural, other_plural = chooser.chance(0.5), chooser.chance(0.5)
    verb_plural = plural == good
    phrase = f"the {pluralize(subject) if plural else subject}"
    if chooser.chance(0.6):
        phrase += f" {chooser.pick(LINKS)} the {pluralize(other) if other_plural else other}"
    if chooser.chance(0.6):
        return f"{phrase} {'are' if verb_plural else 'is'} {chooser.pick(STATES)}"
    verb = chooser.pick(MOVES)
    return f"{phrase} {verb if verb_plural else third_person(verb)} near {chooser.pick(SPOTS)}"


def _break_determiner(chooser: Chooser, label: int) -> str:
    """This and that want a singular noun, these and those a plural one."""
    good = label == ACCEPTABLE
    plural = chooser.chance(0.5)
    noun = chooser.pick(OBJECTS)
    determiner = chooser.rng.choice(
        ("these", "those", "many", "two") if plural == good else ("this", "that", "every", "one")
    )
    phrase = f"{determiner} {pluralize(noun) if plural else noun}"
    subject, verb = chooser.pick(NOUNS), chooser.pick(TRANSITIVES)[1]
    return f"the {subject} {verb} {phrase} {chooser.pick(TIMES)}"


def _break_reflexive(chooser: Chooser, label: int) -> str:
    """A reflexive pronoun agrees with its subject."""
    good = label == ACCEPTABLE
    pronouns = ("himself", "herself", "themselves")
    kind = chooser.rng.randrange(3)
    noun = chooser.pick((MALES, FEMALES, MALES + FEMALES)[kind])
    wrong = chooser.rng.choice([other for other in range(3) if other != kind])
    subject = pluralize(noun) if kind == 2 else noun
    return f"the {subject} {chooser.pick(REFLEXIVE_VERBS)} {pronouns[kind if good else wrong]}"


def _break_arguments(chooser: Chooser, label: int) -> str:
    """A verb has an object or has none, as it asks."""
    good = label == ACCEPTABLE
    with_object = chooser.chance(0.5)
    verb = chooser.pick(TRANSITIVES)[1] if with_object == good else chooser.pick(INTRANSITIVES)
    target = f" the {chooser.pick(OBJECTS)}" if with_object else ""
    return f"the {chooser.pick(NOUNS)} {verb}{target} {chooser.pick(TIMES)}"


def _break_verb_form(chooser: Chooser, label: int) -> str:
    """An auxiliary decides the form of the verb after it."""
    good = label == ACCEPTABLE
    auxiliary, form = chooser.rng.choice(AUXILIARIES)
    verb = chooser.pick(VERBS)
    wrong = chooser.rng.choice([other for other in (0, 1, 2, 3) if other != form])
    noun, item = chooser.pick(NOUNS), chooser.pick(OBJECTS)
    return f"the {noun} {auxiliary} {verb[form if good else wrong]} the {item}"


def _break_order(chooser: Chooser, label: int) -> str:
    """Determiner, adjective and noun, verb and object, preposition and noun stand in a fixed order."""
    good = label == ACCEPTABLE
    noun, item = chooser.pick(NOUNS), chooser.pick(OBJECTS)
    state, verb = chooser.pick(STATES), chooser.pick(TRANSITIVES)[1]
    spot = chooser.pick(SPOTS)
    parts = ["the", state, noun, verb, "the", item, "near", *spot.split()]
    if not good:
        # Swaps of neighbours, each of which breaks a phrase: adjective/noun, verb/object, preposition/article.
        at = chooser.rng.choice((0, 1, 3, 4, 6))
        parts[at], parts[at + 1] = parts[at + 1], parts[at]
    return " ".join(parts)


def _break_question(chooser: Chooser, label: int) -> str:
    """A question word stands for the object, so a second object is one too many; so is none without it."""
    good = label == ACCEPTABLE
    name, verb, item = chooser.pick(FIRST_NAMES), chooser.pick(TRANSITIVES)[0], chooser.pick(OBJECTS)
    asks_what = chooser.chance(0.5)
    opening = f"what did {name}" if asks_what else f"when did {name}"
    return f"{opening} {verb}" + (f" the {item}?" if asks_what != good else "?")


# Rules and how often each is drawn.
RULES: Final[tuple[tuple[Callable[[Chooser, int], str], int], ...]] = (
    (_break_agreement, 5),
    (_break_determiner, 3),
    (_break_reflexive, 3),
    (_break_arguments, 3),
    (_break_verb_form, 4),
    (_break_order, 4),
    (_break_question, 2),
)


def _draw_sentence(chooser: Chooser, label: int) -> Row:
    text = chooser.pick_weighted(RULES)(chooser, label)
    return (finish(text[:-1], "?") if text.endswith("?") else finish(text),), label


def generate_cola() -> Splits:
    """CoLA-like rows: sentence; 1 acceptable, 0 unacceptable."""
    return collect_rows(
        "cola",
        ("sentence",),
        sizes={"train": 800, "validation": 200},
        wishes=(UNACCEPTABLE, ACCEPTABLE),
        draw=_draw_sentence,
    )
