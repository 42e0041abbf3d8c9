"""Fit a classifier: updates, optimisation, snapshots, selection, several processes."""
