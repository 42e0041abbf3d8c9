"""Owns the QNLI-like task: a question and a sentence about the same landmark; does the sentence answer it?

Distractors keep the landmark and, half the time, the kind of answer (a year, a person, a number), but say
something else about it.
"""

from dataclasses import dataclass
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish
from glue_bench.data.sample.words import CITIES, COMPANIES, FAMILY_NAMES, FIRST_NAMES

LANDMARK_NAMES: Final = (
    "Lincoln", "Oxford", "Wellington", "Victoria", "Franklin", "Hudson", "Newton", "Windsor", "Albert", "Churchill",
    "Cleveland", "Hamilton", "Stuart", "Nelson", "Raleigh", "Darwin", "Monroe", "Chester", "Preston", "Salem",
)  # fmt: skip
LANDMARK_KINDS: Final = ("Bridge", "Museum", "Tower", "Castle", "Theater", "Library", "Hotel", "Station")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing to know about a landmark. In the texts, {it} is the landmark and {answer} the answer."""

    answer: str  # kind of answer, see _draw_answer
    questions: tuple[str, ...]
    statements: tuple[str, ...]


FACTS: Final = (
    Fact(
        answer="year",
        questions=("when was {it} built?", "in what year was {it} completed?", "how old is {it}?"),
        statements=(
            "construction of {it} ended in {answer}",
            "builders finished {it} in {answer}",
            "{it} dates from {answer}",
        ),
    ),
    Fact(
        answer="year",
        questions=(
            "when was {it} last restored?",
            "in what year was {it} renovated?",
            "when did repairs to {it} take place?",
        ),
        statements=(
            "{it} was given a new roof and new windows in {answer}",
            "{it} underwent major repairs in {answer}",
            "workers refurbished {it} in {answer}",
        ),
    ),
    Fact(
        answer="year",
        questions=("when was {it} closed?", "in what year did {it} shut?", "until when was {it} open to the public?"),
        statements=(
            "the doors of {it} have been locked since {answer}",
            "{it} shut down for good in {answer}",
            "the last guests left {it} in {answer}",
        ),
    ),
    Fact(
        answer="person",
        questions=("who designed {it}?", "which architect planned {it}?", "whose design was chosen for {it}?"),
        statements=(
            "the architect {answer} drew the plans of {it}",
            "{it} is the work of the architect {answer}",
            "the blueprints of {it} were signed by {answer}",
        ),
    ),
    Fact(
        answer="person",
        questions=("who paid for {it}?", "which donor financed {it}?", "whose money made {it} possible?"),
        statements=(
            "the merchant {answer} funded {it}",
            "{it} was a gift of the banker {answer}",
            "the costs of {it} were met by {answer}",
        ),
    ),
    Fact(
        answer="person",
        questions=("who runs {it} today?", "who is in charge of {it}?", "which manager heads {it}?"),
        statements=(
            "{it} is led by {answer}",
            "{answer} has been the director of {it} since spring",
            "day-to-day affairs at {it} are handled by {answer}",
        ),
    ),
    Fact(
        answer="company",
        questions=("who owns {it}?", "to which company does {it} belong?", "which firm is the owner of {it}?"),
        statements=(
            "{it} is the property of {answer}",
            "{answer} holds the title to {it}",
            "{it} was sold to {answer}",
        ),
    ),
    Fact(
        answer="city",
        questions=("where is {it}?", "in which city does {it} stand?", "what is the location of {it}?"),
        statements=(
            "{it} can be found in the center of {answer}",
            "visitors to {answer} often walk past {it}",
            "{it} overlooks the old port of {answer}",
        ),
    ),
    Fact(
        answer="number",
        questions=("how tall is {it}?", "what is the height of {it}?", "how high does {it} reach?"),
        statements=(
            "{it} rises {answer} meters above the ground",
            "the top of {it} is {answer} meters up",
            "at {answer} meters, {it} dominates the skyline",
        ),
    ),
    Fact(
        answer="number",
        questions=("how much did {it} cost?", "what was the price of {it}?", "how expensive was {it}?"),
        statements=(
            "{answer} million dollars were spent on {it}",
            "the bill for {it} came to {answer} million dollars",
            "the city paid {answer} million dollars for {it}",
        ),
    ),
    Fact(
        answer="number",
        questions=("how many people visit {it}?", "how popular is {it} with visitors?", "what crowds does {it} draw?"),
        statements=(
            "{answer} thousand tourists come to {it} every year",
            "{it} attracts {answer} thousand guests a season",
            "last summer {answer} thousand people toured {it}",
        ),
    ),
    Fact(
        answer="reason",
        questions=("why is {it} famous?", "what is {it} known for?", "what makes {it} special?"),
        statements=(
            "{it} is celebrated for its {answer}",
            "people admire {it} for its {answer}",
            "the {answer} of {it} won it worldwide fame",
        ),
    ),
)
REASONS: Final = (
    "painted ceiling",
    "glass roof",
    "marble stairs",
    "iron gates",
    "carved doors",
    "golden dome",
    "stone lions",
)


def _draw_answer(chooser: Chooser, kind: str) -> str:
    if kind == "year":
        return str(chooser.rng.randrange(1780, 2020))
    if kind == "number":
        return str(chooser.rng.randrange(21, 400))
    if kind == "person":
        return f"{chooser.pick(FIRST_NAMES)} {chooser.pick(FAMILY_NAMES)}"
    return chooser.pick({"company": COMPANIES, "city": CITIES, "reason": REASONS}[kind])


def _draw_question(chooser: Chooser, label: int) -> Row:
    asked = chooser.rng.choice(FACTS)
    told = asked
    if label == 1:
        others = [fact for fact in FACTS if fact is not asked]
        siblings = [fact for fact in others if fact.answer == asked.answer]
        told = chooser.rng.choice(siblings if siblings and chooser.chance(0.7) else others)
    landmark = f"the {chooser.pick(LANDMARK_NAMES)} {chooser.rng.choice(LANDMARK_KINDS)}"
    question = chooser.rng.choice(asked.questions).format(it=landmark)
    statement = chooser.rng.choice(told.statements).format(it=landmark, answer=_draw_answer(chooser, told.answer))
    return (finish(question[:-1], "?"), finish(statement)), label


def generate_qnli() -> Splits:
    """QNLI-like rows: question, sentence; 0 entailment (it is answered), 1 not_entailment."""
    return collect_rows(
        "qnli", ("question", "sentence"), sizes={"train": 600, "validation": 200}, wishes=(0, 1), draw=_draw_question
    )
