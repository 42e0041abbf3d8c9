"""Intervals, verdicts, paired comparisons and degenerate runs, computed from stored predictions."""
