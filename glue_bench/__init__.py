"""glue-bench: fine-tune encoders on GLUE and say honestly whether the published table was reproduced."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]


def load_results(results_dir: str | Path = "results") -> "pd.DataFrame":
    """Return one row per run, split and metric; `glue_bench.runs.store.load_results` documents the columns.

    Raises:
        glue_bench.errors.InputError: there is no such folder.
    """
    from glue_bench.runs.store import load_results as load  # imported late, so that `--help` is quick

    return load(results_dir)
