"""Verdicts on published numbers, and runs that learned nothing."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from glue_bench.statistics.intervals import (
    Floats,
)
from glue_bench.statistics.verdicts import (
    ABOVE,
    BELOW,
    INCONCLUSIVE,
    REPRODUCED,
    describe_degenerate,
    judge_published,
)
from tests.support.drawn import approx


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
    assert degenerate_of(always_but_one) == "no better than the most frequent label (70.0)"
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
        (30, "no better than the most frequent label (76.2)"),  # mean of 0.70 and 0.82: what the table shows
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
    assert degenerate_of(predictions, labels=labels) == "no better than the most frequent label (63.0)"
