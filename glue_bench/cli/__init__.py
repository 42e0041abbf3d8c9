"""The command line: verbs, exit codes, one-line errors. The only package that prints to stdout."""

from glue_bench.cli.main import main

__all__ = ["main"]
