"""Owns the MNLI-like task: what a scene entails, leaves open or rules out.

Three families: deeds (general and specific words, opposites, denials), states (opposites and denials) and groups
(quantifiers). Hypotheses of every label are reworded alike: synonyms, a wider subject, a dropped place.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.genres import ADVENTURE, EVERYDAY, Genre
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish, pluralize, with_article

ENTAILED, OPEN, RULED_OUT = 0, 1, 2

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Somebody is, or is not, doing something to a thing."""

    who: str
    verb: str
    thing: str
    denied: bool
    place: str  # with a leading space, or empty

    def __str__(self) -> str:
        return f"the {self.who} is {'not ' if self.denied else ''}{self.verb} {with_article(self.thing)}{self.place}"


def _draw_deed(chooser: Chooser, genre: Genre, label: int) -> Pair:
    """A deed, and it again reworded, or with one change that leaves it open or rules it out."""
    people, things = chooser.pick(genre.people), chooser.pick(genre.things)
    thing, sibling = chooser.pick_two(things.members)
    deed = chooser.pick(genre.deeds)
    side, wording = chooser.rng.randrange(2), chooser.rng.randrange(2)
    place = f" {chooser.pick(genre.places)}" if chooser.chance(0.5) else ""
    who = chooser.pick(people.members)
    premise = Deed(who=who, verb=deed[side][wording], thing=thing, denied=chooser.chance(0.35), place=place)
    # A denial covers only what is narrower, so a denied premise keeps its place and its thing.
    hypothesis = replace(
        premise,
        who=who if chooser.chance(0.6) else people.name,
        verb=deed[side][wording if chooser.chance(0.3) else 1 - wording],
        place=place if premise.denied or chooser.chance(0.5) else "",
    )
    widened = hypothesis if premise.denied or chooser.chance(0.5) else replace(hypothesis, thing=things.name)
    general_premise = not premise.denied and chooser.chance(0.3)
    if label != RULED_OUT and general_premise:
        premise = replace(premise, thing=things.name)
        return str(premise), str(replace(hypothesis, thing=things.name) if label == ENTAILED else hypothesis)
    if label == OPEN:
        return str(premise), str(_change_deed(chooser, genre, widened, excluded=deed))
    if label == RULED_OUT:
        changes = [replace(widened, denied=not premise.denied)]
        if not premise.denied:
            opposite = replace(hypothesis, verb=chooser.rng.choice(deed[1 - side]))
            changes += [changes[0], opposite, replace(hypothesis, thing=sibling)]
        return str(premise), str(chooser.rng.choice(changes))
    return str(premise), str(widened)


def _change_deed(chooser: Chooser, genre: Genre, deed: Deed, *, excluded: tuple[tuple[str, ...], ...]) -> Deed:
    """The same person in another deed, half the time on another thing, perhaps in another place."""
    wordings = chooser.rng.choice([other for other in chooser.allow(genre.deeds) if other != excluded])
    things = chooser.pick(genre.things)
    thing = deed.thing if chooser.chance(0.5) else chooser.rng.choice((things.name, chooser.pick(things.members)))
    place = deed.place if chooser.chance(0.5) else chooser.rng.choice(("", f" {chooser.pick(genre.places)}"))
    return replace(
        deed,
        verb=chooser.rng.choice(chooser.rng.choice(wordings)),
        thing=thing,
        denied=chooser.chance(0.35),
        place=place,
    )


def _draw_state(chooser: Chooser, genre: Genre, label: int) -> Pair:
    """Somebody is in a state or is not; whether in another one is open."""
    who = chooser.pick(chooser.pick(genre.people).members)
    pair, other = chooser.pick_two(genre.states)
    said, asked = chooser.rng.randrange(2), chooser.rng.randrange(2)
    said_denied = chooser.chance(0.4)
    # Not awake is asleep: a denied state is its opposite.
    same_side = (said == asked) != said_denied
    asked_denied = chooser.chance(0.5) if label == OPEN else same_side != (label == ENTAILED)
    state = other[asked] if label == OPEN else pair[asked]
    return (
        f"the {who} is {'not ' if said_denied else ''}{pair[said]}",
        f"the {who} is {'not ' if asked_denied else ''}{state}",
    )


# (premise, hypothesis) quantifiers by label.
QUANTIFIERS: Final = (
    (("all", "some"), ("all", "most"), ("most", "some"), ("no", "not all"), ("some", "at least two")),
    (("some", "all"), ("most", "all"), ("some", "most"), ("not all", "no"), ("not all", "most")),
    (
        ("all", "no"),
        ("no", "some"),
        ("no", "all"),
        ("some", "no"),
        ("not all", "all"),
        ("all", "not all"),
        ("most", "no"),
    ),
)


def _draw_group(chooser: Chooser, genre: Genre, label: int) -> Pair:
    """How many of a group are in a state."""
    kind = chooser.pick(genre.people)
    group = pluralize(chooser.rng.choice((kind.name, chooser.pick(kind.members))))
    state = chooser.rng.choice(chooser.pick(genre.states))
    premise, hypothesis = chooser.rng.choice(QUANTIFIERS[label])
    return f"{premise} {group} are {state}", f"{hypothesis} {group} are {state}"


FAMILIES: Final[tuple[tuple[Callable[[Chooser, Genre, int], Pair], int], ...]] = (
    (_draw_deed, 7),
    (_draw_state, 2),
    (_draw_group, 1),
)


def _draw_pair(chooser: Chooser, label: int) -> Row:
    genre = ADVENTURE if chooser.split == "validation_mismatched" else EVERYDAY
    premise, hypothesis = chooser.pick_weighted(FAMILIES)(chooser, genre, label)
    return (finish(premise), finish(hypothesis)), label


def generate_mnli() -> Splits:
    """MNLI-like rows: premise, hypothesis; 0 entailment, 1 neutral, 2 contradiction."""
    sizes = {"train": 690, "validation_matched": 180, "validation_mismatched": 180}
    return collect_rows(
        "mnli", ("premise", "hypothesis"), sizes=sizes, wishes=(ENTAILED, OPEN, RULED_OUT), draw=_draw_pair
    )
