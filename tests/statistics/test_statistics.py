"""Intervals, verdicts and tests against SciPy, statsmodels and plain enumeration."""

import math
import time

import numpy as np
import pytest
from scipy import stats

from glue_bench.statistics import intervals
from glue_bench.statistics.intervals import (
    Floats,
    SplitPredictions,
    find_patterns,
    interval_of_difference,
    interval_of_mean,
    resample_scores,
    score_counts,
    variance_of_median,
)
from tests.support.drawn import CLASSES, SCORES, approx, classes, plain, scores


@pytest.mark.parametrize("metric", [*CLASSES, *SCORES])
def test_counted_rows_score_as_the_rows_themselves_repeated(metric: str) -> None:
    stream = np.random.default_rng(1)
    split = classes(120, 3, stream=stream) if metric in CLASSES else scores(120, 3, stream=stream)
    counts = stream.multinomial(120, np.full(120, 1 / 120), size=4)
    found = score_counts([metric], split, counts=counts.astype(np.float64))[metric]
    for draw, times in enumerate(counts):
        rows = np.repeat(np.arange(120), times)
        expected = [plain(metric, split.labels[rows], line[rows]) for line in split.predictions]
        assert found[:, draw] == approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [name for name in CLASSES if name not in ("f1", "precision", "recall")])
def test_scores_of_many_classes_agree_with_the_metric_on_drawn_rows(metric: str) -> None:
    stream = np.random.default_rng(2)
    labels = stream.choice(6, 40, p=[0.5, 0.2, 0.2, 0.06, 0.04, 0]).astype(np.float64)  # drawn rows may lack some
    predictions = np.where(stream.random((2, 40)) < 0.6, labels, stream.integers(0, 6, (2, 40)))
    counts = stream.multinomial(40, np.full(40, 1 / 40), size=6)
    found = score_counts(
        [metric], SplitPredictions(labels=labels, predictions=predictions), counts=counts.astype(np.float64)
    )[metric]
    for draw, times in enumerate(counts):
        rows = np.repeat(np.arange(40), times)
        assert found[:, draw] == approx([plain(metric, labels[rows], line[rows]) for line in predictions], abs=1e-9)


def test_matthews_correlation_of_three_classes_agrees_with_the_metric() -> None:
    stream = np.random.default_rng(2)
    labels = stream.integers(0, 3, 200).astype(np.float64)
    predictions = np.where(stream.random((2, 200)) < 0.6, labels, stream.integers(0, 3, (2, 200)))
    found = score_counts(["matthews_correlation"], SplitPredictions(labels=labels, predictions=predictions))[
        "matthews_correlation"
    ]
    assert found[:, 0] == approx([plain("matthews_correlation", labels, line) for line in predictions])


@pytest.mark.parametrize("metric", [*CLASSES, *SCORES])
def test_constant_predictions_score_as_the_metric_says(metric: str) -> None:
    labels = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    constant = np.zeros((1, 5))
    found = score_counts([metric], SplitPredictions(labels=labels, predictions=constant))[metric]
    assert found[0, 0] == approx(plain(metric, labels, constant[0]))


@pytest.mark.parametrize(("metric", "draws"), [("accuracy", 1500), ("f1", 1500), ("spearman", 1500)])
def test_drawing_patterns_is_drawing_rows(metric: str, draws: int) -> None:
    stream = np.random.default_rng(3)
    split = classes(150, 1, stream=stream) if metric in CLASSES else scores(150, 1, stream=stream)
    ours = resample_scores(split, [metric], stream=stream, draws=draws)[metric][0]

    def statistic(labels: Floats, predictions: Floats) -> float:
        return float(
            score_counts([metric], SplitPredictions(labels=labels, predictions=predictions[None]))[metric][0, 0]
        )

    theirs = stats.bootstrap(
        (split.labels, split.predictions[0]),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=draws,
        rng=np.random.default_rng(4),
    ).bootstrap_distribution
    assert ours.mean() == approx(theirs.mean(), abs=0.006)
    assert ours.std() == approx(theirs.std(), rel=0.1)
    assert np.quantile(ours, [0.025, 0.975]) == approx(np.quantile(theirs, [0.025, 0.975]), abs=0.015)


def test_drawn_scores_are_the_same_on_one_core_and_on_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(cores: int) -> list[bytes]:
        monkeypatch.setattr(intervals, "usable_cores", lambda: [*range(cores)])
        stream = np.random.default_rng(18)
        split = classes(900, 2, stream=stream)
        return [resample_scores(split, ["f1"], stream=stream)["f1"].tobytes() for _ in range(2)]

    one = drawn(1)
    assert one == drawn(5)
    assert one[0] != one[1]


@pytest.mark.parametrize("rows", [1, 7, 2000])
@pytest.mark.parametrize("metric", ["accuracy", "f1", "pearson"])
def test_patterns_count_every_row_once(rows: int, metric: str) -> None:
    stream = np.random.default_rng(rows)
    split = scores(rows, 70, stream=stream) if metric == "pearson" else classes(rows, 2, stream=stream)
    patterns, counts = find_patterns(split, [metric])
    table = np.vstack([patterns.labels, patterns.predictions])
    assert counts.sum() == rows
    assert np.unique(table, axis=1).shape == table.shape
    counted = score_counts([metric], patterns, counts=counts[None].astype(np.float64))[metric]
    assert counted == approx(score_counts([metric], split)[metric])


def test_qqps_dev_rows_and_five_seeds_take_less_than_three_seconds() -> None:
    stream = np.random.default_rng(16)
    split = classes(40_430, 5, stream=stream)
    began = time.process_time()
    drawn = resample_scores(split, ["accuracy", "f1"], stream=stream)
    assert time.process_time() - began < 3
    assert drawn["f1"].shape == (5, 2000)


def test_with_one_seed_the_interval_is_the_bootstrap_of_rows() -> None:
    stream = np.random.default_rng(5)
    split = classes(400, 1, stream=stream)
    drawn = resample_scores(split, ["accuracy"], stream=stream)["accuracy"]
    right = (split.predictions[0] == split.labels).astype(np.float64)
    found = interval_of_mean(np.array([right.mean()]), drawn)
    theirs = stats.bootstrap((right,), np.mean, method="percentile", rng=np.random.default_rng(6)).confidence_interval
    assert (found.low, found.high) == approx((theirs.low, theirs.high), abs=0.004)
    assert math.hypot(found.rows_error, found.training_error) == approx(right.std() / math.sqrt(400), rel=0.06)


def test_where_only_training_varies_the_interval_is_students() -> None:
    found = np.array([0.80, 0.82, 0.81, 0.85, 0.79])
    rows_do_nothing = np.repeat(found[:, None], 500, axis=1)
    interval = interval_of_mean(found, rows_do_nothing)
    low, high = stats.t.interval(0.95, 4, loc=found.mean(), scale=stats.sem(found))
    assert (interval.low, interval.high) == approx((low, high))
    assert math.hypot(interval.rows_error, interval.training_error) == approx(stats.sem(found))


def test_seeds_that_only_disagree_about_single_rows_add_no_training_noise() -> None:
    stream = np.random.default_rng(7)
    split = classes(4000, 5, stream=stream)  # every run errs at random: one row more or less is all that differs
    whole = score_counts(["accuracy"], split)["accuracy"][:, 0]
    interval = interval_of_mean(whole, resample_scores(split, ["accuracy"], stream=stream)["accuracy"])
    assert math.hypot(interval.rows_error, interval.training_error) == approx(math.sqrt(0.8 * 0.2 / 4000 / 5), rel=0.35)


@pytest.mark.parametrize(("count", "known"), [(1, 1.0), (2, 0.5), (3, 0.4487), (4, 0.2982), (5, 0.2868), (7, 0.2104)])
def test_the_variance_of_a_median_agrees_with_published_tables(count: int, known: float) -> None:
    assert variance_of_median(count) == approx(known, abs=5e-5)  # Sarhan and Greenberg, 1962, table 10C.1


def test_a_difference_is_paired_by_row() -> None:
    stream = np.random.default_rng(8)
    split = classes(500, 3, stream=stream)
    drawn = resample_scores(split, ["accuracy"], stream=stream)["accuracy"]
    whole = score_counts(["accuracy"], split)["accuracy"][:, 0]
    nothing = interval_of_difference((whole, drawn), (whole, drawn))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    more = interval_of_difference((whole + 0.01, drawn + 0.01), (whole, drawn))
    assert (more.value, more.low, more.high) == approx((0.01, 0.01, 0.01))
