"""Owns the QQP-like task: two questions; do they ask the same thing?

Each field has subjects and intents; an intent has several wordings. Duplicates word one intent on one subject
twice; the others keep the subject and change the intent, or keep the intent and change the subject.
"""

from dataclasses import dataclass
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What people ask about: subjects and, for each intent, its wordings with {it} for the subject."""

    subjects: tuple[str, ...]
    intents: tuple[tuple[str, ...], ...]


SKILLS: Final = (
    "Spanish", "chess", "Italian", "Python", "calculus", "drawing", "German", "Russian", "statistics",
    "painting", "Latin", "swimming", "Korean", "accounting", "photography", "Arabic", "physics", "sewing",
)  # fmt: skip
COUNTRIES: Final = (
    "Japan", "Iceland", "Morocco", "Peru", "Greece", "Thailand", "Norway", "Kenya", "Portugal", "Vietnam",
    "Croatia", "Brazil", "Scotland", "Egypt", "Canada", "Nepal", "Mexico", "Finland",
)  # fmt: skip
DEVICES: Final = (
    "a laptop", "a phone", "a printer", "a camera", "a tablet", "a router", "a television", "a keyboard",
    "a microwave", "a dishwasher", "a drone", "a headset", "a watch", "a bicycle", "a scanner", "a speaker",
)  # fmt: skip
AILMENTS: Final = (
    "a headache", "back pain", "a cold", "acne", "insomnia", "a sore throat", "stress", "a fever", "dry skin",
    "a toothache", "hay fever", "heartburn", "dandruff", "a cough", "sunburn", "hiccups", "a migraine",
    "anxiety",
)  # fmt: skip
FOODS: Final = (
    "rice", "salmon", "potatoes", "eggs", "lentils", "chicken", "spinach", "mushrooms", "pasta", "beans",
    "tofu", "shrimp", "broccoli", "bacon", "oatmeal", "pumpkin", "steak", "carrots",
)  # fmt: skip
FIELDS: Final = (
    Field(
        subjects=SKILLS,
        intents=(
            (
                "how can I learn {it}",
                "what is the best way to study {it}",
                "how does a beginner get started with {it}",
                "how should I go about learning {it}",
            ),
            (
                "how long does it take to learn {it}",
                "how many months do I need to master {it}",
                "how quickly can someone get good at {it}",
            ),
            (
                "is it worth learning {it}",
                "are there any benefits to knowing {it}",
                "should I bother to learn {it}",
                "why would anyone study {it}",
            ),
            (
                "how do I teach {it} to a child",
                "what is the best way to get kids to learn {it}",
                "how can parents help children with {it}",
            ),
            (
                "what are good books about {it}",
                "which textbook on {it} should I read",
                "can you recommend something to read on {it}",
            ),
            (
                "can I earn a living with {it}",
                "what jobs can I get with {it}",
                "how do people make money from {it}",
            ),
        ),
    ),
    Field(
        subjects=COUNTRIES,
        intents=(
            (
                "when is the best time to visit {it}",
                "in which month should I travel to {it}",
                "what is the ideal season for a trip to {it}",
            ),
            (
                "how much does a week in {it} cost",
                "what budget do I need for a holiday in {it}",
                "is it expensive to travel around {it}",
            ),
            (
                "is {it} safe for tourists",
                "how dangerous is {it} for visitors",
                "should travelers worry about crime in {it}",
            ),
            (
                "what food should I try in {it}",
                "which dishes is {it} famous for",
                "what do people like to eat in {it}",
            ),
            (
                "do I need a visa for {it}",
                "what papers are required to enter {it}",
                "can I get into {it} without a visa",
            ),
            (
                "how can I move to {it} for good",
                "what does it take to settle in {it}",
                "how do foreigners emigrate to {it}",
            ),
        ),
    ),
    Field(
        subjects=DEVICES,
        intents=(
            (
                "how do I fix {it}",
                "what is the best way to repair {it}",
                "how can I get {it} working again",
            ),
            (
                "how do I clean {it}",
                "what should I use to wash {it}",
                "how can dirt be removed from {it}",
            ),
            (
                "where can I sell {it}",
                "what is the best place to find a buyer for {it}",
                "how do I get money for {it} I no longer use",
            ),
            (
                "how much does {it} cost",
                "what is a fair price for {it}",
                "how much should I spend on {it}",
            ),
            (
                "how long does {it} last",
                "what is the life span of {it}",
                "after how many years does {it} wear out",
            ),
            (
                "which brand makes {it} that is reliable",
                "who makes {it} that never fails",
                "what company should I trust for {it}",
            ),
        ),
    ),
    Field(
        subjects=AILMENTS,
        intents=(
            (
                "how do I get rid of {it}",
                "what is the best cure for {it}",
                "which treatment works against {it}",
            ),
            (
                "what causes {it}",
                "why do people get {it}",
                "where does {it} come from",
            ),
            (
                "how can I prevent {it}",
                "what should I do to avoid {it}",
                "how do I protect myself from {it}",
            ),
            (
                "how long does {it} last",
                "after how many days does {it} go away",
                "when will {it} be over",
            ),
            (
                "is {it} dangerous",
                "can {it} do lasting harm",
                "should I see a doctor about {it}",
            ),
        ),
    ),
    Field(
        subjects=FOODS,
        intents=(
            (
                "how do I cook {it}",
                "what is the best way to prepare {it}",
                "how should {it} be cooked",
            ),
            (
                "how long can I store {it}",
                "when should I throw out old {it}",
                "for how many days does the fridge keep {it} fresh",
            ),
            (
                "is eating {it} good for you",
                "what are the health benefits of {it}",
                "does a diet of {it} do the body good",
            ),
            (
                "what can I use instead of {it}",
                "what is a good substitute for {it}",
                "which food can replace {it} in a recipe",
            ),
            (
                "what goes well with {it}",
                "which side dish should I serve with {it}",
                "what tastes good next to {it}",
            ),
        ),
    ),
)


def _draw_questions(chooser: Chooser, label: int) -> Row:
    field = chooser.rng.choice(FIELDS)
    subject, other_subject = chooser.pick_two(field.subjects)
    intent, other_intent = chooser.rng.sample(field.intents, 2)
    wording, rewording = chooser.rng.sample(intent, 2)
    first = wording.format(it=subject)
    if label == 1:
        second = rewording.format(it=subject)
    elif chooser.chance(0.6):
        second = chooser.rng.choice(other_intent).format(it=subject)
    else:
        second = chooser.rng.choice((wording, rewording)).format(it=other_subject)
    return (finish(first, "?"), finish(second, "?")), label


def generate_qqp() -> Splits:
    """QQP-like rows: question1, question2; 1 duplicate, 0 not_duplicate."""
    return collect_rows(
        "qqp", ("question1", "question2"), sizes={"train": 640, "validation": 200}, wishes=(0, 1), draw=_draw_questions
    )
