"""glue-bench: fine-tune encoders on GLUE and say honestly whether the published table was reproduced."""

import os
import sys

from glue_bench import stops  # noqa: F401 - before anything else: a signal may come at any moment

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100,PTH120 - nothing is imported yet
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[0] != _ROOT:
    # `python -m` puts the working folder first: a user's statistics.py there is data, not a module of ours.
    del sys.path[0]

from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

__version__ = "0.1.0"
__all__ = ["__version__", "load_results", "predict"]


def load_results(results_dir: str | Path = "results", *words: str, **filters: object) -> "pd.DataFrame":
    """Return one row per run, split and metric; `glue_bench.runs.listing.load_results` documents columns and filters.

    Raises:
        glue_bench.errors.InputError: there is no such folder.
        glue_bench.errors.UsageError: a filter with an unknown key, or that no run fits.
    """
    from glue_bench.runs.listing import load_results as load  # imported late, so that `--help` is quick

    return load(results_dir, *words, **filters)


def predict(
    rows: "Sequence[str | Sequence[str] | Mapping[str, str]]",
    *,
    results_dir: str | Path = "results",
    device: str = "auto",
    **choice: Any,
) -> "list[dict[str, Any]]":
    """Predict rows with a finished run that kept its weights, as `glue-bench predict` does.

    Args:
        rows: each a text, a pair of texts in the task's order, or a mapping from the task's columns to texts.
        choice: task, encoder, seed and run_id, as many as are needed to name one run.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        An answer for each row, in their order: `idx` (0, 1, ...), the texts by column, and `label` with `probabilities`
        by name, or `score`.

    Raises:
        glue_bench.errors.GlueBenchError: no run or several match, its weights cannot be used, or a row is not texts.
    """
    from glue_bench.data.texts import join_rows
    from glue_bench.runs.finished import find_finished
    from glue_bench.runs.inference import FineTuned, answer
    from glue_bench.runs.store import RunStore

    run = find_finished(RunStore(Path(results_dir)), need_model=True, **choice)
    texts = join_rows(rows, run.task)
    return answer(FineTuned(run, device=device).predict(texts.texts), run.task, rows=texts)
