"""Intervals, verdicts and tests against SciPy, statsmodels and plain enumeration."""

import math
import time
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttest_ind

from glue_bench.config.task import METRICS
from glue_bench.statistics.intervals import (
    Floats,
    SplitPredictions,
    interval_of_difference,
    interval_of_mean,
    resample_scores,
    score_counts,
    variance_of_median,
)
from glue_bench.statistics.paired import adjust_holm, compare_pairs
from glue_bench.statistics.verdicts import (
    ABOVE,
    BELOW,
    INCONCLUSIVE,
    REPRODUCED,
    describe_degenerate,
    drop_p_value,
    drop_p_value_of_rows,
    judge_published,
)
from glue_bench.tasks.metrics import score_predictions

SCORES = ("pearson", "spearman")
CLASSES = tuple(name for name in METRICS if name not in SCORES)


def approx(value: object, **tolerance: Any) -> Any:
    """Return pytest.approx, typed so that it may be compared with anything."""
    return pytest.approx(value, **tolerance)


def classes(rows: int, seeds: int, *, share: float = 0.8, stream: np.random.Generator) -> SplitPredictions:
    """Draw labels 0 and 1, and predictions of which `share` are right."""
    labels = stream.integers(0, 2, rows).astype(np.float64)
    right = stream.random((seeds, rows)) < share
    return SplitPredictions(labels=labels, predictions=np.where(right, labels, 1 - labels))


def scores(rows: int, seeds: int, *, stream: np.random.Generator) -> SplitPredictions:
    """Draw labels with ties, and predictions with and without ties."""
    labels = np.round(stream.random(rows) * 5, 1)
    predictions = labels + stream.normal(0, 1, (seeds, rows))
    predictions[0] = np.round(predictions[0])
    return SplitPredictions(labels=labels, predictions=predictions)


def plain(metric: str, labels: Floats, predictions: Floats) -> float:
    """Compute the score that a record would hold."""
    if metric in SCORES:
        return score_predictions([metric], predictions, labels=labels)[metric]
    return score_predictions([metric], predictions.astype(np.int64), labels=labels.astype(np.int64))[metric]


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


def test_an_interval_for_a_run_like_theirs_is_the_prediction_interval() -> None:
    ours = [84.0, 84.6, 84.2, 84.9, 84.3]
    verdict = judge_published(ours, 84.5, rounding=0.05)
    half = stats.t.ppf(0.975, 4) * np.std(ours, ddof=1) * math.sqrt(1 + 1 / 5)
    assert (verdict.low, verdict.high) == approx((np.mean(ours) - half, np.mean(ours) + half))
    assert verdict.kind == REPRODUCED
    of_five = judge_published(ours, 84.5, rounding=0.05, runs=5)
    half = stats.t.ppf(0.975, 4) * np.std(ours, ddof=1) * math.sqrt(0.28683 + 1 / 5)
    assert (of_five.low, of_five.high) == approx((np.mean(ours) - half, np.mean(ours) + half), rel=1e-5)


@pytest.mark.parametrize(
    ("published", "kind"), [(84.4, REPRODUCED), (86.5, BELOW), (82.0, ABOVE), (85.3, INCONCLUSIVE)]
)
def test_the_verdict_says_where_ours_are(published: float, kind: str) -> None:
    assert judge_published([84.0, 84.6, 84.2, 84.9, 84.3], published, rounding=0.05).kind == kind


def test_rounding_counts_in_favour_of_the_published_number() -> None:
    ours = [84.0, 84.6, 84.2, 84.9, 84.3]
    edge = judge_published(ours, 84.4, rounding=0.05).high
    assert edge is not None
    assert judge_published(ours, edge + 0.04, rounding=0.05).kind == INCONCLUSIVE
    assert judge_published(ours, edge + 0.06, rounding=0.05).kind == BELOW


def test_an_inconclusive_verdict_names_the_seeds_that_would_decide() -> None:
    ours = [84.0, 84.6, 84.2]
    verdict = judge_published(ours, 85.2, rounding=0.05)
    needed = verdict.seeds_needed
    assert verdict.kind == INCONCLUSIVE
    assert needed is not None
    spread = np.std(ours, ddof=1)

    def reach(count: int) -> float:
        return float(stats.t.ppf(0.975, count - 1) * spread * math.sqrt(1 + 1 / count))

    assert reach(needed) < abs(85.2 - np.mean(ours)) - 0.05 <= reach(needed - 1)
    assert str(needed) in verdict.reason


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([84.0], "1 seed;"),
        ([84.0, 85.0], "2 seeds;"),
        ([84.0] * 5, "the same"),
        ([100 * 276 / 277] * 7, "the same"),  # their mean is not one of them
    ],
)
def test_without_observed_noise_there_is_no_verdict(ours: list[float], words: str) -> None:
    verdict = judge_published(ours, 84.0, rounding=0.05)
    assert (verdict.kind, verdict.low) == (INCONCLUSIVE, None)
    assert words in verdict.reason


def test_a_published_mean_with_its_spread_gives_welchs_interval_of_the_difference() -> None:
    ours = [64.1, 66.0, 65.2, 67.3, 63.9, 66.4]
    verdict = judge_published(ours, 64.76, rounding=0.005, runs=5, mean=True, deviation=1.04)
    assert verdict.low is not None
    assert verdict.high is not None
    own = (np.mean(ours), np.std(ours, ddof=1), len(ours))
    for edge in (verdict.low, verdict.high):
        welch = stats.ttest_ind_from_stats(*own, edge, 1.04, 5, equal_var=False)
        assert welch.pvalue == approx(0.05)
    assert verdict.kind == REPRODUCED
    assert verdict.reason == f"difference {verdict.low - 64.76:+.1f} to {verdict.high - 64.76:+.1f}"


@pytest.mark.parametrize(
    ("published", "deviation", "kind"),
    [
        (70.0, 0.1, BELOW),
        (60.0, 0.1, ABOVE),
        (65.4, 0.1, REPRODUCED),
        (65.9, 0.1, INCONCLUSIVE),
        (66.5, 5.0, REPRODUCED),
    ],
)
def test_a_published_spread_decides_how_far_away_is_far(published: float, deviation: float, kind: str) -> None:
    verdict = judge_published(
        [64.1, 66.0, 65.2, 67.3, 63.9, 66.4], published, rounding=0.05, runs=5, mean=True, deviation=deviation
    )
    assert verdict.kind == kind
    assert verdict.reason.startswith("difference ")
    assert ("seeds" in verdict.reason) == (kind == INCONCLUSIVE)


def test_a_spread_of_an_unknown_number_of_runs_is_not_used() -> None:
    ours = [84.0, 84.6, 84.2, 84.9, 84.3]
    plain = judge_published(ours, 84.5, rounding=0.05)
    assert judge_published(ours, 84.5, rounding=0.05, mean=True, deviation=0.3) == plain
    assert judge_published(ours, 84.5, rounding=0.05, runs=5, mean=True).high < plain.high  # type: ignore[operator]


def test_holm_agrees_with_statsmodels() -> None:
    stream = np.random.default_rng(9)
    for count in (1, 2, 8):
        raw = stream.random(count) ** 3
        assert adjust_holm(list(raw)) == approx(list(multipletests(raw, method="holm")[1]))
    assert adjust_holm([]) == []


def test_with_one_seed_the_test_is_mcnemars() -> None:
    labels = np.ones(300)
    first, second = labels.copy(), labels.copy()
    first[:18], second[18:50] = 0, 0  # 18 rows that only the second has right, 32 that only the first has
    pair = SplitPredictions(labels=labels, predictions=np.vstack([first[None], second[None]]))
    found = compare_pairs({"v": pair}, [("v", "accuracy")], stream=np.random.default_rng(10), draws=40_000)
    exact = mcnemar([[250, 32], [18, 0]], exact=True).pvalue
    middle = exact - stats.binom.pmf(18, 50, 0.5)
    assert found.p_rows == approx(middle, abs=0.004)
    assert found.difference.value == approx(14 / 300)


def test_with_seeds_the_test_agrees_with_scipys_permutation_of_rows() -> None:
    stream = np.random.default_rng(11)
    ours, others = classes(200, 3, share=0.84, stream=stream), classes(200, 3, stream=stream)
    labels = ours.labels
    flipped = np.where(others.predictions == others.labels, labels, 1 - labels)
    pair = SplitPredictions(labels=labels, predictions=np.vstack([ours.predictions, flipped]))
    found = compare_pairs({"v": pair}, [("v", "accuracy")], stream=stream, draws=20_000)
    right = [(lines == labels).mean(axis=0) for lines in (ours.predictions, flipped)]
    theirs = stats.permutation_test(
        (right[0], right[1]),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(12),
    )
    beyond = np.abs(theirs.null_distribution) > abs(theirs.statistic) + 1e-9
    ties = np.abs(np.abs(theirs.null_distribution) - abs(theirs.statistic)) <= 1e-9
    assert found.p_rows == approx(beyond.mean() + ties.mean() / 2, abs=0.015)


@pytest.mark.parametrize("metric", [*CLASSES, *SCORES])
def test_an_encoder_compared_with_itself_shows_nothing(metric: str) -> None:
    stream = np.random.default_rng(13)
    split = classes(100, 2, stream=stream) if metric in CLASSES else scores(100, 2, stream=stream)
    pair = SplitPredictions(labels=split.labels, predictions=np.vstack([split.predictions, split.predictions]))
    found = compare_pairs({"v": pair}, [("v", metric)], stream=stream, draws=200)
    assert (found.difference.value, found.p_value, found.detectable) == approx((0, 0.5, 0), abs=0.51)
    assert found.p_value > 0.49


def test_a_p_value_of_an_interval_is_the_level_at_which_it_touches_0() -> None:
    alone = np.array([0.030, 0.010, 0.025])
    training = interval_of_mean(alone, np.repeat(alone[:, None], 500, axis=1))
    assert training.p_value() == approx(stats.ttest_1samp(alone, 0).pvalue)
    rows = interval_of_mean(np.array([0.03]), 0.03 + np.random.default_rng(15).normal(0, 0.01, (1, 20_000)))
    assert rows.p_value() == approx(2 * stats.norm.sf(3), rel=0.1)


def test_the_detectable_difference_is_found_with_about_its_power() -> None:
    stream = np.random.default_rng(14)
    found, detectable, repeats = 0, [], 200
    for _ in range(repeats):
        labels = np.ones(400)
        first = (stream.random((3, 400)) < 0.87).astype(np.float64)
        second = (stream.random((3, 400)) < 0.795).astype(np.float64)
        pair = SplitPredictions(labels=labels, predictions=np.vstack([first, second]))
        result = compare_pairs({"v": pair}, [("v", "accuracy")], stream=stream, draws=200)
        detectable.append(result.detectable)
        found += result.p_value < 0.05
    assert np.mean(detectable) == approx(0.075, rel=0.1)  # the true difference
    assert 0.65 < found / repeats < 0.9


def test_welchs_test_agrees_with_statsmodels() -> None:
    before, after = [88.0, 88.4, 87.9, 88.2, 88.1], [87.0, 87.9, 87.2]
    expected = ttest_ind(after, before, alternative="smaller", usevar="unequal")[1]
    assert drop_p_value(before, after) == approx(expected)
    assert drop_p_value([1.0, 1.0], [0.9, 0.9]) == 0
    assert drop_p_value([1.0, 1.0], [1.0, 1.0]) == 1
    assert drop_p_value_of_rows((80.0, 1.0), (80.0 - 1.644854 * math.sqrt(2), 1.0)) == approx(0.05)
    assert (drop_p_value_of_rows((80, 0), (79, 0)), drop_p_value_of_rows((80, 0), (80, 0))) == (0, 1)


BINARY = {"names": ["no", "yes"], "metrics": ["accuracy"]}
LABELS = np.array([1.0] * 70 + [0.0] * 30)


def degenerate_of(predictions: Floats, **facts: Any) -> str | None:
    labels = facts.pop("labels", LABELS)
    logits = facts.pop("logits", np.zeros((len(labels), 2)))
    return describe_degenerate(labels, predictions, logits=logits, **{**BINARY, **facts})


def test_runs_that_learned_nothing_are_found() -> None:
    assert degenerate_of(np.ones(100)) == "constant predictions (yes)"
    always_but_one = np.ones(100)
    always_but_one[0] = 0
    assert degenerate_of(always_but_one) == "no better than always the most frequent label (70.0)"
    assert degenerate_of(1 - LABELS) == "below chance: accuracy 0.0, chance 50.0"
    not_a_number = np.zeros((100, 2))
    not_a_number[3, 1] = np.nan
    assert degenerate_of(LABELS, logits=not_a_number) == "logits that are not numbers"
    by_correlation = degenerate_of(1 - LABELS, metrics=["matthews_correlation"])
    assert by_correlation == "below chance: predictions and labels are not correlated"
    line = np.linspace(0, 5, 50)
    one_logit = {"labels": line, "logits": line[:, None], "names": [], "metrics": ["pearson"]}
    assert degenerate_of(np.full(50, 2.5), **one_logit) == "constant predictions (2.50)"
    assert degenerate_of(-line, **one_logit) == "below chance: predictions and labels are not correlated"


def test_runs_that_learned_something_are_not() -> None:
    some = LABELS.copy()
    some[95:] = 1
    assert degenerate_of(some) is None
    worse_than_majority = LABELS.copy()
    worse_than_majority[:40] = 0  # accuracy 60, but the labels are correlated
    assert degenerate_of(worse_than_majority, metrics=["matthews_correlation"]) is None
    assert degenerate_of(np.ones(20), labels=np.ones(20)) is None  # nothing else could be right
    line = np.linspace(0, 5, 50)
    assert degenerate_of(line**2, labels=line, logits=line[:, None], names=[], metrics=["matthews_correlation"]) is None


@pytest.mark.parametrize(
    ("ones", "found"),
    [
        (30, "no better than always the most frequent label (76.2)"),  # mean of 0.70 and 0.82: what the table shows
        (5, None),
    ],
)
def test_the_most_frequent_label_is_judged_by_the_metrics_that_are_shown(ones: int, found: str | None) -> None:
    predictions = LABELS.copy()
    predictions[:ones] = 0  # accuracy and F1 fall together
    predictions[70 : 70 + ones // 2] = 1
    assert degenerate_of(predictions, metrics=["accuracy", "f1"]) == found


def test_a_run_above_the_most_frequent_label_in_what_is_shown_learned_something() -> None:
    labels = np.array([0.0] * 63 + [1.0] * 37)
    predictions = labels.copy()
    predictions[:45] = 1  # accuracy 55, below 63; F1 62, above 0
    assert degenerate_of(predictions, labels=labels, metrics=["accuracy", "f1"]) is None
    assert degenerate_of(predictions, labels=labels) == "no better than always the most frequent label (63.0)"
