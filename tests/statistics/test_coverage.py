"""Simulations: intervals cover what they say, tests raise false alarms as often as they say.

2,000 synthetic repeats each. A repeat draws dev rows of varying difficulty, seeds of varying strength, and answers.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from glue_bench.statistics.intervals import (
    Floats,
    SplitPredictions,
    interval_of_difference,
    interval_of_mean,
    resample_scores,
    score_counts,
)
from glue_bench.statistics.verdicts import ABOVE, BELOW, compare_pairs, judge_published

pytestmark = pytest.mark.slow  # minutes of arithmetic

REPEATS = 2000
DRAWS = 400
ROWS = (277, 408, 1043)  # RTE, MRPC, CoLA
METRICS = ("accuracy", "f1", "matthews_correlation")


@dataclass(frozen=True)
class World:
    """Where dev rows and trainings come from."""

    training: float  # spread of the seeds' strength, in logits: 0.1 is about one point of accuracy
    positive: float = 0.68  # share of class 1

    def draw(self, rows: int, seeds: int, stream: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw (n,) labels and (S, n) predictions."""
        labels = (stream.random(rows) < self.positive).astype(np.float64)
        easy = stream.normal(1.4, 1.5, rows)
        strength = stream.normal(0, self.training, (seeds, 1))
        right = stream.random((seeds, rows)) < _sigmoid(2 * (easy + strength))
        return labels, np.where(right, labels, 1 - labels)

    def expected(self) -> dict[str, float]:
        """Return the limit of a score for infinitely many rows, averaged over infinitely many seeds."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        weights /= weights.sum()
        accuracy = np.array([weights @ _sigmoid(2 * (1.4 + 1.5 * nodes + self.training * node)) for node in nodes])
        tp, tn = self.positive * accuracy, (1 - self.positive) * accuracy
        fn, fp = self.positive - tp, 1 - self.positive - tn
        matthews = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        every = {"accuracy": accuracy, "f1": 2 * tp / (2 * tp + fp + fn), "matthews_correlation": matthews}
        return {name: float(weights @ values) for name, values in every.items()}


def _sigmoid(x: Floats) -> Floats:
    values: Floats = 1 / (1 + np.exp(-x))
    return values


WORLDS = {"rows and single answers vary": World(training=0.0), "trainings vary too": World(training=0.1)}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_95_percent_interval_covers_93_to_97_percent(world: World, rows: int, seeds: int) -> None:
    stream = np.random.default_rng(rows + seeds)
    expected, covered = world.expected(), dict.fromkeys(METRICS, 0)
    for _ in range(REPEATS):
        labels, predictions = world.draw(rows, seeds, stream)
        split = SplitPredictions(labels=labels, predictions=predictions)
        whole = score_counts(METRICS, split)
        drawn = resample_scores(split, METRICS, stream=stream, draws=DRAWS)
        for metric in METRICS:
            interval = interval_of_mean(whole[metric][:, 0], drawn[metric])
            covered[metric] += interval.low <= expected[metric] <= interval.high
    shares = {metric: count / REPEATS for metric, count in covered.items()}
    print(f"{rows} rows, {seeds} seeds, training {world.training}: {shares}")
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


@pytest.mark.parametrize("rows", ROWS)
def test_the_permutation_test_rejects_equal_encoders_in_4_to_6_percent_of_comparisons(rows: int) -> None:
    world, seeds = World(training=0.0), 3
    stream = np.random.default_rng(rows)
    alarms = dict.fromkeys(METRICS, 0)
    decided = 0
    for _ in range(REPEATS):
        labels, predictions = world.draw(rows, 2 * seeds, stream)
        pair = SplitPredictions(labels=labels, predictions=predictions)
        for metric in METRICS:
            result = compare_pairs({"v": pair}, [("v", metric)], stream=stream, draws=DRAWS)
            alarms[metric] += result.p_rows < 0.05
            decided += metric == "accuracy" and result.p_value < 0.05
    shares = {metric: count / REPEATS for metric, count in alarms.items()}
    print(f"{rows} rows: {shares}; decided in {decided / REPEATS}")
    assert all(0.04 <= share <= 0.06 for share in shares.values()), shares
    assert decided / REPEATS <= 0.06


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("rows", [408, 1043])
def test_where_trainings_vary_equal_encoders_are_called_different_in_6_percent_at_most(rows: int, seeds: int) -> None:
    world, worlds, stream = World(training=0.1), np.random.default_rng(rows + seeds), np.random.default_rng(seeds)
    by_rows, decided, repeats = 0, 0, 5 * REPEATS  # 2,000 leave a standard error of half a point
    for _ in range(repeats):
        labels, predictions = world.draw(rows, 2 * seeds, worlds)
        pair = SplitPredictions(labels=labels, predictions=predictions)
        result = compare_pairs({"v": pair}, [("v", "accuracy")], stream=stream, draws=DRAWS)
        by_rows += result.p_rows < 0.05
        decided += result.p_value < 0.05
    print(f"{rows} rows, {seeds} seeds: decided in {decided / repeats}; by the permutation alone {by_rows / repeats}")
    assert decided / repeats <= 0.06


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_a_difference_covers_it_where_trainings_vary(seeds: int) -> None:
    world, rows = World(training=0.1), 408
    stream, covered = np.random.default_rng(seeds), 0
    for _ in range(REPEATS):
        labels, predictions = world.draw(rows, 2 * seeds, stream)
        split = SplitPredictions(labels=labels, predictions=predictions)
        whole = score_counts(["accuracy"], split)["accuracy"][:, 0]
        drawn = resample_scores(split, ["accuracy"], stream=stream, draws=DRAWS)["accuracy"]
        interval = interval_of_difference((whole[:seeds], drawn[:seeds]), (whole[seeds:], drawn[seeds:]))
        covered += interval.low <= 0 <= interval.high
    print(f"{seeds} seeds: {covered / REPEATS}")
    assert 0.93 <= covered / REPEATS <= 0.98


@pytest.mark.parametrize("runs", [1, 5])
@pytest.mark.parametrize("seeds", [3, 5])
def test_runs_like_ours_are_called_below_or_above_in_5_percent_at_most(seeds: int, runs: int) -> None:
    stream, wrong = np.random.default_rng(10 * seeds + runs), 0
    for _ in range(REPEATS):
        ours = [float(score) for score in stream.normal(85, 0.8, seeds)]
        theirs = round(float(np.median(stream.normal(85, 0.8, runs))), 1)
        wrong += judge_published(ours, theirs, rounding=0.05, runs=runs).kind in (BELOW, ABOVE)
    print(f"{seeds} seeds, {runs} runs: {wrong / REPEATS}")
    assert 0.03 <= wrong / REPEATS <= 0.06
