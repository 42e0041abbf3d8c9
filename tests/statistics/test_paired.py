"""Two encoders on the same rows: tests, adjusted p-values, detectable differences."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttest_ind

from glue_bench.statistics.intervals import (
    SplitPredictions,
    interval_of_mean,
)
from glue_bench.statistics.verdicts import (
    adjust_holm,
    compare_pairs,
    drop_p_value,
)
from tests.support.drawn import CLASSES, SCORES, approx, classes, scores


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
    assert drop_p_value([1.0, 1.0], [0.9, 0.9], errors=(0, 0)) == 0
    assert drop_p_value([1.0, 1.0], [1.0, 1.0], errors=(0, 0)) == 1
    assert drop_p_value([80.0], [80.0 - 1.644854 * math.sqrt(2)], errors=(1.0, 1.0)) == approx(0.05)
    assert drop_p_value([50.2] * 3, [50.2], errors=(0, 0)) == 1  # whatever rounding does to a mean of three
    assert drop_p_value([80.0], [79.0]) is None
