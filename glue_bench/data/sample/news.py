"""Owns the MRPC-like task: two news sentences; do they report the same thing?

An event has details and several wordings, and so has its reverse. Equivalent pairs word the same details
differently; the others change one detail (an amount, a name, a day, a city) or report the reverse.
"""

from dataclasses import dataclass
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish
from glue_bench.data.sample.words import CITIES, COMPANIES, FAMILY_NAMES, FIRST_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened. The wordings name their details: {firm}, {rival}, {person}, {city}, {town}, {n}, {thing}."""

    wordings: tuple[str, ...]
    reversals: tuple[str, ...]  # the same details in an event that contradicts this one
    things: tuple[str, ...] = ("",)  # what {thing} may be


EVENTS: Final = (
    Event(
        wordings=(
            "{firm} agreed to buy {rival}",
            "{rival} will be taken over by {firm}",
            "the sale of {rival} to {firm} was approved",
        ),
        reversals=(
            "{firm} decided not to buy {rival}",
            "{rival} will no longer be taken over by {firm}",
            "the sale of {rival} to {firm} was called off",
        ),
    ),
    Event(
        wordings=(
            "shares of {firm} rose {n} percent",
            "{firm} stock climbed by {n} percent",
            "{firm} gained {n} percent on the market",
        ),
        reversals=(
            "shares of {firm} fell {n} percent",
            "{firm} stock dropped by {n} percent",
            "{firm} lost {n} percent on the market",
        ),
    ),
    Event(
        wordings=(
            "{firm} will cut jobs in {city}",
            "workers in {city} will be laid off by {firm}",
            "{firm} plans to shrink its {city} office",
        ),
        reversals=(
            "{firm} will create jobs in {city}",
            "workers in {city} will be hired by {firm}",
            "{firm} plans to expand its {city} office",
        ),
    ),
    Event(
        wordings=(
            "a court in {city} sent {person} to prison",
            "{person} was jailed by {city} judges",
            "{city} judges found {person} guilty",
        ),
        reversals=(
            "a court in {city} let {person} go free",
            "{person} was released by {city} judges",
            "{city} judges found {person} innocent",
        ),
    ),
    Event(
        things=("train", "bus", "plane", "truck", "helicopter", "tram"),
        wordings=(
            "{n} people died in a {thing} crash near {city}",
            "a {thing} accident near {city} killed {n} people",
            "{n} lives were lost when a {thing} crashed near {city}",
        ),
        reversals=(
            "{n} people survived a {thing} crash near {city}",
            "a {thing} accident near {city} left {n} people unharmed",
            "{n} lives were saved when a {thing} crashed near {city}",
        ),
    ),
    Event(
        things=("chairman", "president", "treasurer", "spokesman", "adviser", "lawyer"),
        wordings=(
            "{firm} hired {person} as its {thing}",
            "{person} has been appointed {thing} of {firm}",
            "{person} got the job of {thing} at {firm}",
        ),
        reversals=(
            "{firm} fired {person} as its {thing}",
            "{person} has been dismissed as {thing} of {firm}",
            "{person} lost the job of {thing} at {firm}",
        ),
    ),
    Event(
        wordings=("{city} defeated {town}", "{town} lost to {city}", "{city} won the match against {town}"),
        reversals=("{town} defeated {city}", "{city} lost to {town}", "{town} won the match against {city}"),
    ),
    Event(
        things=("strike", "ban", "curfew", "festival", "boycott", "trial"),
        wordings=(
            "the {thing} in {city} has begun",
            "a {thing} got under way in {city}",
            "{city} saw the start of the {thing}",
        ),
        reversals=(
            "the {thing} in {city} is over",
            "a {thing} came to a close in {city}",
            "{city} saw the end of the {thing}",
        ),
    ),
)
# What frames a report and changes nothing in it.
SOURCES: Final = (", officials said", ", reports say", "", "", "", "")


def _draw_details(chooser: Chooser, event: Event) -> dict[str, str]:
    firm, rival = chooser.pick_two(COMPANIES)
    city, town = chooser.pick_two(CITIES)
    return {
        "firm": firm,
        "rival": rival,
        "city": city,
        "town": town,
        "person": f"{chooser.pick(FIRST_NAMES)} {chooser.pick(FAMILY_NAMES)}",
        "n": str(chooser.rng.randrange(3, 60)),
        "thing": chooser.rng.choice(event.things),
    }


def _change_detail(chooser: Chooser, event: Event, details: dict[str, str]) -> dict[str, str]:
    """The details with one of those that the event mentions drawn anew."""
    name = chooser.rng.choice([name for name in details if f"{{{name}}}" in event.wordings[0]])
    taken = list(details.values())
    while (new := _draw_details(chooser, event)[name]) in taken:
        pass
    return details | {name: new}


def _draw_report(chooser: Chooser, label: int) -> Row:
    event = chooser.rng.choice(EVENTS)
    told, reverse = chooser.rng.sample((event.wordings, event.reversals), 2)
    first, second = chooser.rng.sample(range(len(told)), 2)
    details = new_details = _draw_details(chooser, event)
    wording = told[second]
    if label == 0 and chooser.chance(0.3):
        wording = reverse[second]
    elif label == 0:
        new_details = _change_detail(chooser, event, details)
        wording = told[chooser.rng.choice((first, second))]
    texts = told[first].format_map(details), wording.format_map(new_details)
    return (finish(texts[0] + chooser.rng.choice(SOURCES)), finish(texts[1] + chooser.rng.choice(SOURCES))), label


def generate_mrpc() -> Splits:
    """MRPC-like rows: sentence1, sentence2; 1 equivalent (60 percent), 0 not_equivalent."""
    sizes = {"train": 640, "validation": 200}
    return collect_rows("mrpc", ("sentence1", "sentence2"), sizes=sizes, wishes=(1, 0, 1, 0, 1), draw=_draw_report)
