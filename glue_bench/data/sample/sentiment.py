"""Owns the SST-2-like task: film reviews in a sentence, with negation, contrast and plain praise or blame."""

from collections.abc import Callable
from typing import Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish, with_article

# Each pair of tables is (negative, positive), so that a label is an index.
ADJECTIVES: Final = (
    (
        "dull", "clumsy", "tedious", "awful", "lifeless", "shallow", "predictable", "boring", "weak", "dreadful",
        "stale", "pointless", "confusing", "lazy", "forgettable", "bland", "messy", "terrible", "wooden", "ugly",
        "irritating", "sloppy", "grating", "hollow",
    ),
    (
        "charming", "gripping", "brilliant", "funny", "moving", "fresh", "clever", "lovely", "exciting", "superb",
        "warm", "elegant", "witty", "touching", "beautiful", "thrilling", "wonderful", "sharp", "honest", "delightful",
        "hilarious", "graceful", "inspiring", "powerful",
    ),
)  # fmt: skip
NOUNS: Final = (
    ("mess", "failure", "disaster", "disappointment", "bore", "waste of time", "flop", "chore", "letdown", "mistake"),
    ("triumph", "delight", "masterpiece", "gem", "treat", "success", "joy", "winner", "marvel", "pleasure"),
)
ASPECTS: Final = (
    "plot", "acting", "script", "music", "ending", "dialogue", "camera work", "story", "pacing", "cast", "humor",
    "opening scene", "villain", "romance", "soundtrack", "direction",
)  # fmt: skip
WORKS: Final = ("film", "movie", "comedy", "thriller", "drama", "sequel", "documentary", "remake", "western", "cartoon")
# Aspects that take an indefinite article.
COUNTABLE_ASPECTS: Final = (
    "plot",
    "script",
    "ending",
    "story",
    "cast",
    "villain",
    "romance",
    "soundtrack",
    "opening scene",
)
# "X was dull, but Y ...": the second half decides.
TURNS: Final = (
    ("ruins it", "spoils everything", "drags it down", "kills the mood", "wrecks the evening", "lets it down"),
    ("saves it", "makes up for it", "carries the day", "rescues the film", "wins you over", "lifts the whole thing"),
)
NEGATIONS: Final = ("not", "never", "hardly", "not at all", "far from", "anything but", "nowhere near")
NOUN_NEGATIONS: Final = ("not", "hardly", "far from", "anything but", "by no means")
BOOSTS: Final = ("very", "really", "quite", "truly", "simply", "always", "often", "rather", "thoroughly")


def _state_plainly(chooser: Chooser, label: int) -> str:
    aspect, (adjective, second) = chooser.pick(ASPECTS), chooser.pick_two(ADJECTIVES[label])
    work = chooser.pick(WORKS)
    return chooser.rng.choice((
        f"the {aspect} is {chooser.pick(BOOSTS)} {adjective}",
        f"{with_article(adjective)} {work} with {with_article(second)} {chooser.pick(COUNTABLE_ASPECTS)}",
        f"this {work} is {with_article(chooser.pick(NOUNS[label]))} from start to finish",
    ))  # fmt: skip


def _negate_adjective(chooser: Chooser, label: int) -> str:
    subject = f"the {chooser.pick(ASPECTS)}" if chooser.chance(0.5) else f"this {chooser.pick(WORKS)}"
    return f"{subject} is {chooser.pick(NEGATIONS)} {chooser.pick(ADJECTIVES[1 - label])}"


def _negate_noun(chooser: Chooser, label: int) -> str:
    noun = with_article(chooser.pick(NOUNS[1 - label]))
    return f"the {chooser.pick(WORKS)} is {chooser.pick(NOUN_NEGATIONS)} {noun}"


def _turn_around(chooser: Chooser, label: int) -> str:
    first, second = chooser.pick_two(ASPECTS)
    adjective, turn = chooser.pick(ADJECTIVES[1 - label]), chooser.pick(TURNS[label])
    return chooser.rng.choice((
        f"the {first} is {adjective}, but the {second} {turn}",
        f"although the {first} is {adjective}, the {second} {turn}",
        f"the {second} {turn}, even though the {first} is {adjective}",
    ))  # fmt: skip


def _set_against(chooser: Chooser, label: int) -> str:
    work = chooser.pick(WORKS)
    wrong, right = chooser.pick(NOUNS[1 - label]), chooser.pick(NOUNS[label])
    before, after = chooser.pick(ADJECTIVES[1 - label]), chooser.pick(ADJECTIVES[label])
    return chooser.rng.choice((
        f"i expected {with_article(wrong)} and got {with_article(right)}",
        f"what sounds like {with_article(wrong)} turns out to be {with_article(right)}",
        f"the {work} starts out {before} and ends up {after}",
        f"{after} rather than {before}, this {work} is {with_article(right)}",
        f"critics called the {work} {before}, but they were wrong",
        f"it could have been {before}, yet the {work} is {after}",
        f"the {work} is more {after} than {before}",
        f"the {work} is less {before} than {after}",
        f"calling this {work} {before} would be unfair",
    ))  # fmt: skip


# Ways to review and how often each is drawn: a third says plainly what it means.
WAYS: Final[tuple[tuple[Callable[[Chooser, int], str], int], ...]] = (
    (_state_plainly, 4),
    (_negate_adjective, 3),
    (_negate_noun, 1),
    (_turn_around, 2),
    (_set_against, 2),
)


def _draw_review(chooser: Chooser, label: int) -> Row:
    return (finish(chooser.pick_weighted(WAYS)(chooser, label)),), label


def generate_sst2() -> Splits:
    """SST-2-like rows: sentence; 1 positive, 0 negative."""
    return collect_rows(
        "sst2", ("sentence",), sizes={"train": 600, "validation": 200}, wishes=(0, 1), draw=_draw_review
    )
