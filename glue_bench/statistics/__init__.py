"""Intervals, verdicts, paired comparisons and degenerate runs, from stored predictions. Knows no files, no torch."""
