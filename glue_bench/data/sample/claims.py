"""Owns the RTE-like task: a news sentence and a claim; does the claim follow from it?"""

from collections.abc import Callable
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish, pluralize, with_article
from glue_bench.data.sample.words import CITIES, COMPANIES, DAYS

FOLLOWS, DOES_NOT_FOLLOW = 0, 1

Pair = tuple[str, str]

# (past, participle, synonym past)
BUSINESS: Final = (
    ("sued", "sued", "took legal action against"),
    ("bought", "bought", "acquired"),
    ("beat", "beaten", "defeated"),
    ("paid", "paid", "gave money to"),
    ("praised", "praised", "spoke well of"),
    ("warned", "warned", "issued a warning to"),
    ("criticized", "criticized", "found fault with"),
    ("hired", "hired", "gave work to"),
)
# What one person may have done to another.
MEETINGS: Final = ("sued", "paid", "praised", "warned", "criticized", "hired", "met", "thanked")
JOBS: Final = (
    "minister", "banker", "surgeon", "engineer", "reporter", "detective", "senator", "coach", "pilot", "judge", "mayor",
    "teacher", "farmer", "lawyer",
)  # fmt: skip
# (base, past) of what people succeed or fail to do.
TASKS: Final = (
    ("close the gate", "closed the gate"),
    ("pay the bill", "paid the bill"),
    ("sign the contract", "signed the contract"),
    ("repair the engine", "repaired the engine"),
    ("sell the farm", "sold the farm"),
    ("call the police", "called the police"),
    ("publish the letter", "published the letter"),
    ("lock the office", "locked the office"),
    ("test the bridge", "tested the bridge"),
    ("paint the fence", "painted the fence"),
    ("open the safe", "opened the safe"),
    ("feed the horses", "fed the horses"),
    ("burn the papers", "burned the papers"),
    ("clean the pool", "cleaned the pool"),
)
# Verbs after which the deed was not done, or was done.
IMPLICATIVES: Final = (
    ("failed to", "refused to", "forgot to", "neglected to", "was unable to", "declined to"),
    ("managed to", "was able to", "remembered to", "found time to", "took the time to", "was forced to"),
)
# (general, specific members)
KINDS: Final = (
    ("vehicle", ("truck", "van", "bus", "tractor", "taxi")),
    ("flower", ("rose", "tulip", "lily", "daisy", "orchid")),
    ("animal", ("horse", "bear", "dog", "cow", "fox")),
    ("vessel", ("ferry", "yacht", "tanker", "trawler", "canoe")),
    ("weapon", ("rifle", "knife", "pistol", "bomb", "sword")),
    ("fruit", ("apple", "mango", "lemon", "peach", "cherry")),
)
# What may have happened to any of these: two wordings of each event.
EVENTS: Final = (
    ("was found", "was discovered"),
    ("was stolen", "was taken by thieves"),
    ("was bought", "was purchased"),
    ("was hidden", "was concealed"),
    ("was photographed", "was captured on camera"),
    ("was examined", "was inspected"),
    ("was seen", "was spotted"),
    ("was left behind", "was abandoned"),
)


def _swap_roles(chooser: Chooser, label: int) -> Pair:
    """One company acts on another: told back in the active or passive, with the roles kept or swapped."""
    follows = label == FOLLOWS
    first, second = chooser.pick_two(COMPANIES)
    past, participle, synonym = chooser.pick(BUSINESS)
    text = f"{first} {past} {second}"
    agent, patient = (first, second) if follows else (second, first)
    return text, chooser.rng.choice((f"{patient} was {participle} by {agent}", f"{agent} {synonym} {patient}"))


def _follow_implicative(chooser: Chooser, label: int) -> Pair:
    """Whether somebody who managed or failed to do a thing did it; of another thing nothing is known."""
    job = f"the {chooser.pick(JOBS)}"
    (base, past), other_task = chooser.pick_two(TASKS)
    done = chooser.rng.randrange(2)
    text = f"{job} {chooser.pick(IMPLICATIVES[done])} {base}"
    claimed_done = (done == 1) == (label == FOLLOWS)
    if label == DOES_NOT_FOLLOW and chooser.chance(0.5):
        base, past = other_task
        claimed_done = chooser.chance(0.5)
    return text, f"{job} {past}" if claimed_done else f"{job} did not {base}"


def _attach_clause(chooser: Chooser, label: int) -> Pair:
    """Who did it: the subject, not the noun inside its relative clause."""
    follows = label == FOLLOWS
    first, second = chooser.pick_two(JOBS)
    _, deed = chooser.pick(TASKS)
    text = f"the {first} who {chooser.pick(MEETINGS)} the {second} {deed}"
    return text, f"the {first if follows else second} {deed}"


def _widen_noun(chooser: Chooser, label: int) -> Pair:
    """From the specific to the general follows; the other way round, or another kind, city or event, does not."""
    (general, members), (other_general, other_members) = chooser.pick_two(KINDS)
    specific = chooser.pick(members)
    event, other_event = chooser.pick_two(EVENTS)
    city, other_city = chooser.pick_two(CITIES)
    told = chooser.rng.randrange(2)
    claimed = event[1 - told] if chooser.chance(0.7) else event[told]
    nouns = chooser.rng.choice(((specific, general), (specific, general), (specific, specific), (general, general)))
    claimed_city = city
    if label == DOES_NOT_FOLLOW:
        way = chooser.rng.randrange(5)
        if way == 0:
            nouns = general, specific
        elif way < 3:
            nouns = specific, chooser.rng.choice((other_general, chooser.pick(other_members)))
        elif way == 3:
            claimed = chooser.rng.choice(other_event)
        else:
            # One changed word, as a synonym would be: the number of changes must not tell the label.
            claimed, claimed_city = event[told], other_city
    first, second = (with_article(noun) for noun in nouns)
    return f"{first} {event[told]} near {city} on {chooser.pick(DAYS)}", f"{second} {claimed} near {claimed_city}"


# (first quantifier, first noun, second quantifier, second noun) with 0 specific and 1 general.
WEAKER: Final = (
    ("all", 1, "all", 0),
    ("all", 1, "some", 1),
    ("some", 0, "some", 1),
    ("no", 1, "no", 0),
    ("all", 0, "some", 1),
)
STRONGER: Final = (
    ("all", 0, "all", 1),
    ("some", 1, "all", 1),
    ("some", 1, "some", 0),
    ("no", 0, "no", 1),
    ("some", 0, "all", 0),
)


def _weaken_quantity(chooser: Chooser, label: int) -> Pair:
    """A quantifier and its noun make a claim weaker or stronger together."""
    follows = label == FOLLOWS
    general, members = chooser.pick(KINDS)
    nouns = [pluralize(noun) for noun in (chooser.pick(members), general)]
    event, city = chooser.pick(EVENTS)[0].replace("was", "were"), chooser.pick(CITIES)
    first, first_noun, second, second_noun = chooser.rng.choice(WEAKER if follows else STRONGER)
    text = f"{first} {nouns[first_noun]} near {city} {event} on {chooser.pick(DAYS)}"
    return text, f"{second} {nouns[second_noun]} near {city} {event}"


FAMILIES: Final[tuple[tuple[Callable[[Chooser, int], Pair], int], ...]] = (
    (_swap_roles, 1),
    (_follow_implicative, 3),
    (_attach_clause, 1),
    (_widen_noun, 5),
    (_weaken_quantity, 1),
)


def _draw_claim(chooser: Chooser, label: int) -> Row:
    text, claim = chooser.pick_weighted(FAMILIES)(chooser, label)
    return (finish(text), finish(claim)), label


def generate_rte() -> Splits:
    """RTE-like rows: sentence1, sentence2; 0 entailment, 1 not_entailment."""
    return collect_rows(
        "rte",
        ("sentence1", "sentence2"),
        sizes={"train": 640, "validation": 200},
        wishes=(FOLLOWS, DOES_NOT_FOLLOW),
        draw=_draw_claim,
    )
