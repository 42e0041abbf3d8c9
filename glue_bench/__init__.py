"""glue-bench: fine-tune encoders on GLUE and say honestly whether the published table was reproduced."""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100,PTH120 - nothing is imported yet
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[0] != _ROOT:
    # `python -m` puts the working folder first: a user's statistics.py there is data, not a module of ours.
    del sys.path[0]

from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]


def load_results(results_dir: str | Path = "results", *words: str, **filters: object) -> "pd.DataFrame":
    """Return one row per run, split and metric; `glue_bench.runs.dataframe.load_results` documents columns and filters.

    Raises:
        glue_bench.errors.InputError: there is no such folder.
        glue_bench.errors.UsageError: a filter with an unknown key, or that no run fits.
    """
    from glue_bench.runs.dataframe import load_results as load  # imported late, so that `--help` is quick

    return load(results_dir, *words, **filters)
