"""Runs on disk: identity, records, leases, and the one function that trains and scores a run."""
