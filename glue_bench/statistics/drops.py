"""Whether new scores are lower than earlier ones on the same dev rows. Knows no reports."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special


def drop_p_value(before: Sequence[float], after: Sequence[float]) -> float:
    """One-sided Welch test that the expected score fell, over seeds: the rows are the same.

    Args:
        before: two scores or more, one per seed.
        after: two scores or more, one per seed.
    """
    from scipy import stats  # most of a second, which a report without --check need not pay for

    if np.ptp(before) == 0 and np.ptp(after) == 0:
        return 0.0 if after[0] < before[0] else 1.0
    return float(stats.ttest_ind(after, before, equal_var=False, alternative="less").pvalue)


def drop_p_value_of_rows(before: tuple[float, float], after: tuple[float, float]) -> float:
    """One-sided normal test for single runs, each a score with the standard error that its dev rows leave.

    The two are taken for independent, though they share the rows: it takes a larger drop to be told.
    """
    noise = math.hypot(before[1], after[1])
    if noise == 0:
        return 0.0 if after[0] < before[0] else 1.0
    return float(special.ndtr((after[0] - before[0]) / noise))
