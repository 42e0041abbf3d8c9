"""Owns the STS-B-like task: two scenes, scored 0 to 5 by how much of their meaning they share.

A scene has three slots: who, does what, to what. A shared slot is mostly worded with a synonym, and a scene may
turn passive, so counting common words sees only part of the score.
"""

from typing import Any, Final

from glue_bench.data.sample.choices import Chooser
from glue_bench.data.sample.rows import Row, Splits, collect_rows
from glue_bench.data.sample.sentences import finish, with_article
from glue_bench.data.sample.words import HANDLINGS, PEOPLE, THINGS

# The slots, in the order of an active sentence, and what sharing one is worth: together 5 points.
SLOTS: Final[tuple[tuple[Any, ...], ...]] = (PEOPLE, HANDLINGS, THINGS)
POINTS: Final = (1.0, 2.4, 1.6)
SYNONYM_RATE: Final = 0.65
PASSIVE_RATE: Final = 0.3
# Annotators disagree: a score is off by up to this many points.
SCORE_NOISE: Final = 0.3


def _word_scene(chooser: Chooser, words: list[Any]) -> str:
    """The sentence of a person, the three forms of a verb and a thing."""
    who, (_, participle, progressive), what = words
    if chooser.chance(PASSIVE_RATE):
        return finish(f"{with_article(what)} is being {participle} by {with_article(who)}")
    return finish(f"{with_article(who)} is {progressive} {with_article(what)}")


def _draw_scenes(chooser: Chooser, n_shared: int) -> Row:
    shared = [slot < n_shared for slot in range(len(SLOTS))]
    chooser.rng.shuffle(shared)
    first, second = [], []
    score = chooser.rng.uniform(-SCORE_NOISE, SCORE_NOISE)
    for table, points, same in zip(SLOTS, POINTS, shared, strict=True):
        meaning, other = chooser.pick_two(table)
        word = chooser.rng.choice(meaning)
        first.append(word)
        if same:
            synonyms = [synonym for synonym in meaning if synonym != word]
            second.append(chooser.rng.choice(synonyms) if synonyms and chooser.chance(SYNONYM_RATE) else word)
            score += points
        else:
            second.append(chooser.rng.choice(other))
    return (_word_scene(chooser, first), _word_scene(chooser, second)), round(min(5.0, max(0.0, score)), 2)


def generate_stsb() -> Splits:
    """STS-B-like rows: sentence1, sentence2; a score from 0 (nothing shared) to 5 (same meaning)."""
    sizes = {"train": 600, "validation": 200}
    return collect_rows("stsb", ("sentence1", "sentence2"), sizes=sizes, wishes=(0, 1, 2, 3), draw=_draw_scenes)
