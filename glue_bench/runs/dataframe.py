"""Every finished score in a folder of results as a pandas DataFrame. Knows no published numbers, no tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glue_bench.errors import InputError
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore

if TYPE_CHECKING:
    import pandas as pd

_NAMES = (
    "encoder task split metric value rows seed status comparable not_comparable_because recipe recipe_changes init "
    "selection cell data fingerprint hub_id revision weights_sha256 parameters steps epochs tokens train_seconds "
    "eval_seconds device precision engine ended setting_id run_id folder"
)
COLUMNS = _NAMES.split()


def load_results(results_dir: str | Path = "results") -> "pd.DataFrame":
    """One row per run, validation split and metric; a run without scores has one row, with no split and no metric.

    Columns: `encoder`, `task`, `split`, `metric`, `value` (natural units: 0 to 1, correlations -1 to 1), `rows` (of the
    split), `seed`, `status` (finished, failed, diverged, interrupted), `comparable` and `not_comparable_because`,
    `recipe`, `recipe_changes` (trainer values that are not the recipe's, as KEY=VALUE words), `init`, `selection`,
    `cell` (the run's values in a grid, as such words), `data` (hub, local or sample), `fingerprint`, `hub_id`,
    `revision` and `weights_sha256` of the encoder, `parameters` (head included), `steps`, `epochs`, `tokens`,
    `train_seconds`, `eval_seconds`, `device`, `precision`, `engine`, `ended` (UTC), `setting_id` (runs that share it
    differ in the seed alone), `run_id`, `folder` (with the predictions).

    Raises:
        InputError: there is no such folder.
    """
    import pandas as pd  # half a second that other users of the package need not pay for

    folder = Path(results_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of results")
    store = RunStore(folder)
    rows = [row for record in store.load_all() for row in _rows(record, store)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["ended"] = pd.to_datetime(frame["ended"], utc=True, errors="coerce")
    return frame


def _rows(record: Record, store: RunStore) -> list[dict[str, Any]]:
    encoder, data, config = record.encoder, record.data, record.config
    facts: dict[str, Any] = {name: getattr(record, name) for name in COLUMNS if hasattr(record, name)}
    facts |= {name: encoder.get(name) for name in ("hub_id", "revision", "weights_sha256", "parameters")}
    facts |= {name: _words(config.get(name)) for name in ("recipe_changes", "cell")}
    facts |= {f"{name}_seconds": record.seconds.get(name) for name in ("train", "eval")}
    facts |= {
        "encoder": encoder["name"],
        "data": data["source"],
        "fingerprint": data.get("fingerprint"),
        "not_comparable_because": "; ".join(record.not_comparable_because),
        "ended": record.ended or None,
        "folder": str(store.folder(*record.place)),
    }
    if not record.finished:
        return [{**dict.fromkeys(COLUMNS), **facts}]
    task, scores, rows = task_of(record), record.scores, data["rows"]
    return [
        {**facts, "split": split, "metric": metric, "value": scores[split][metric], "rows": rows[split]}
        for split in task.validation
        for metric in task.metrics
    ]


def _words(values: Mapping[str, Any] | None) -> str:
    return " ".join(f"{key}={value}" for key, value in (values or {}).items())
