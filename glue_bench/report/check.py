"""A report beside an earlier one, for continuous integration: what fell, and what is gone. Knows no formats."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glue_bench.errors import InputError
from glue_bench.report.model import Report, Row
from glue_bench.statistics.drops import drop_p_value, drop_p_value_of_rows
from glue_bench.statistics.paired import adjust_holm

SIGNIFICANCE = 0.05  # of the p-value, adjusted over the rows
_NORMAL_95 = 1.959964  # half the width of a 95 % interval in standard errors

_SAME_SETTING = ("encoder", "data", "task", "metric", "recipe", "recipe_changes", "init", "selection", "cell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One row of the earlier report."""

    title: str  # encoder and task
    before: float  # mean over the seeds, times 100
    after: float | None  # None where no finished run is left
    seeds: tuple[int, int]  # before and after
    p_value: float  # adjusted; 1 where there is nothing to test
    fault: str  # why the check fails; empty if it does not


def check_report(report: Report, baseline: Sequence[Mapping[str, Any]]) -> list[Checked]:
    """Every finished row of the earlier report, with what became of it.

    Args:
        baseline: rows from `read_baseline`.
    """
    now = [json.loads(json.dumps(asdict(row))) for section in report.sections for row in section.rows]
    rows = [row for section in report.sections for row in section.rows]
    pairs = []
    for earlier in baseline:
        alike = [place for place, row in enumerate(now) if _is_alike(row, earlier)]
        same = [place for place in alike if now[place]["setting_id"] == earlier["setting_id"]]
        pairs.append((earlier, rows[(same or alike)[0]] if alike else None))
    raw = [_p_value(earlier, row) if row is not None and row.values else 1.0 for earlier, row in pairs]
    return [_judge(earlier, row, p) for (earlier, row), p in zip(pairs, adjust_holm(raw), strict=True)]


def read_baseline(path: Path) -> list[dict[str, Any]]:
    """The rows with finished runs in a file that `report --format json` wrote.

    Raises:
        InputError: it is not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for section in content["sections"] for row in section["rows"] if row["seeds"]]
        for row in rows:
            if len(row["values"]) != len(row["seeds"]) or not all(isinstance(v, int | float) for v in row["values"]):
                raise ValueError("a row whose values do not belong to its seeds")
            for key in (*_SAME_SETTING, "n", "setting_id", "title", "mean", "low", "high"):
                row[key]
    except OSError as error:
        raise InputError(f"--check {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--check {path}: not a report of `report --format json` ({type(error).__name__}: {error})"
        ) from error
    return rows


def _is_alike(row: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    return bool(row["values"]) and all(row[key] == earlier[key] for key in _SAME_SETTING)


def _p_value(earlier: Mapping[str, Any], row: Row) -> float:
    if len(earlier["values"]) > 1 and len(row.values) > 1:
        return drop_p_value(earlier["values"], row.values)
    spreads = [(earlier["low"], earlier["high"]), (row.low, row.high)]
    errors = [0.0 if low is None or high is None else (high - low) / (2 * _NORMAL_95) for low, high in spreads]
    mean = row.mean if row.mean is not None else row.values[0]
    return drop_p_value_of_rows((float(earlier["mean"]), errors[0]), (mean, errors[1]))


def _judge(earlier: Mapping[str, Any], row: Row | None, p_value: float) -> Checked:
    title, before = f"{earlier['encoder']} {earlier['title']}", float(earlier["mean"])
    if row is None or row.mean is None:
        fault, after, count = "no finished run of this setting any more", None, 0
    elif row.n != earlier["n"]:
        fault, after, count = f"{row.n} dev rows, {earlier['n']} before: not the same test", row.mean, len(row.seeds)
    else:
        after, count = row.mean, len(row.seeds)
        fell = p_value < SIGNIFICANCE and after < before
        fault = f"fell by {before - after:.1f} (adjusted p {p_value:.3f})" if fell else ""
    return Checked(
        title=title,
        before=before,
        after=after,
        seeds=(len(earlier["seeds"]), count),
        p_value=p_value,
        fault=fault,
    )
