"""A report beside an earlier one, for continuous integration: what fell, and what is gone. Knows no formats."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glue_bench.errors import InputError
from glue_bench.report.model import Report, Row
from glue_bench.report.programs import REPORT_SCHEMA_VERSION
from glue_bench.statistics.paired import adjust_holm
from glue_bench.statistics.verdicts import drop_p_value, drop_p_value_of_rows

SIGNIFICANCE = 0.05  # of the p-value, adjusted over the rows
_NORMAL_95 = 1.959964  # half the width of a 95 % interval in standard errors

_SAME_SETTING = ("encoder", "data", "task", "metric", "recipe", "recipe_changes", "init", "selection", "cell")
_SAME_SCORES = tuple(key for key in _SAME_SETTING if key != "metric")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One row of the earlier report."""

    title: str  # encoder and task
    before: float  # mean over the seeds, times 100
    after: float | None  # None where no finished run is left
    seeds: tuple[int, int]  # before and after
    p_value: float  # adjusted; 1 where there is nothing to test
    fault: str  # why the check fails; empty if it does not
    remark: str  # what else to know


def check_report(report: Report, baseline: Sequence[Mapping[str, Any]]) -> list[Checked]:
    """Every finished row of the earlier report, with what became of it.

    Args:
        baseline: rows from `read_baseline`.
    """
    now = [json.loads(json.dumps(asdict(row))) for section in report.sections for row in section.rows]
    rows = [row for section in report.sections for row in section.rows]
    places = [_find(now, earlier, _SAME_SETTING) for earlier in baseline]
    pairs = [(earlier, None if place is None else rows[place]) for earlier, place in zip(baseline, places, strict=True)]
    raw = [None if row is None else _p_value(earlier, row) for earlier, row in pairs]
    adjusted = iter(adjust_holm([p for p in raw if p is not None]))
    checked = []
    for (earlier, row), p in zip(pairs, raw, strict=True):
        if row is None:
            other = _find(now, earlier, _SAME_SCORES)
            checked.append(_tell_gone(earlier, None if other is None else rows[other]))
        else:
            checked.append(_judge(earlier, row, None if p is None else next(adjusted)))
    return checked


def read_baseline(path: Path) -> list[dict[str, Any]]:
    """The rows with finished runs in a file that `report --format json` wrote.

    Raises:
        InputError: it is not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
        if version != REPORT_SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}, this glue-bench writes {REPORT_SCHEMA_VERSION}")
        rows = [row for section in content["sections"] for row in section["rows"] if row["seeds"]]
        if not rows:
            raise ValueError("no row with finished runs: nothing to check")
        for row in rows:
            _check_row(row)
    except OSError as error:
        raise InputError(f"--check {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--check {path}: not a report of `report --format json` ({_tell(error)})") from error
    return rows


def _tell(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "not JSON"
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def _check_row(row: Mapping[str, Any]) -> None:
    """Refuse a row that nothing can be compared with."""
    if len(row["values"]) != len(row["seeds"]) or not all(_is_number(value) for value in row["values"]):
        raise ValueError("a row whose values do not belong to its seeds")
    if not all(row[key] is None or _is_number(row[key]) for key in ("n", "low", "high")):
        raise ValueError("n or the interval of a row is no number")
    if not isinstance(row["run_ids"], list):
        raise ValueError("the run_ids of a row are no list")
    for key in (*_SAME_SETTING, "setting_id", "title", "fingerprint"):
        row[key]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _find(now: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    """The place of the row with finished runs that has the same `keys`; of several, the one most like the earlier."""

    def likeness(place: int) -> tuple[bool, int, bool]:
        row = now[place]
        runs = len({*row["run_ids"]} & {*map(str, earlier["run_ids"])})
        # Runs of one setting stand in two rows where their precision differs.
        return row["setting_id"] == earlier["setting_id"], runs, row["fingerprint"] == earlier["fingerprint"]

    alike = (place for place, row in enumerate(now) if row["values"] and all(row[key] == earlier[key] for key in keys))
    return max(alike, key=likeness, default=None)


def _p_value(earlier: Mapping[str, Any], row: Row) -> float | None:
    """Of a drop; None where nothing is known of the noise of single runs, or of seeds that all score the same."""
    before, after = list[float](earlier["values"]), list(row.values)
    if min(len(before), len(after)) > 1 and np.ptp(before) + np.ptp(after) > 0:
        return drop_p_value(before, after)
    if earlier["low"] is None or earlier["high"] is None or row.low is None or row.high is None:
        return None
    errors = [(high - low) / (2 * _NORMAL_95) for low, high in ((earlier["low"], earlier["high"]), (row.low, row.high))]
    return drop_p_value_of_rows((statistics.fmean(before), errors[0]), (statistics.fmean(after), errors[1]))


def _tell_gone(earlier: Mapping[str, Any], other: Row | None) -> Checked:
    """The line of a row that nothing answers to, or only a row that shows another score of it."""
    fault = "no finished run of this setting any more"
    if other is not None:
        fault = f"now shown as {other.metric}, {earlier['metric']} before: name the same --convention"
    return _line(earlier, None, p_value=1.0, fault=fault)


def _judge(earlier: Mapping[str, Any], row: Row, p_value: float | None) -> Checked:
    before, after = statistics.fmean(earlier["values"]), statistics.fmean(row.values)
    if row.n != earlier["n"]:
        return _line(earlier, row, p_value=1.0, fault=f"{row.n} dev rows, {earlier['n']} before: not the same test")
    if None not in (row.fingerprint, earlier["fingerprint"]) and row.fingerprint != earlier["fingerprint"]:
        return _line(earlier, row, p_value=1.0, fault="other texts or labels than before: not the same test")
    if p_value is None:
        remark = "lower, but nothing tells by how much it varies" if after < before else ""
        return _line(earlier, row, p_value=1.0, remark=remark)
    fell = p_value < SIGNIFICANCE and after < before
    fault = f"fell by {before - after:.1f} (adjusted p {p_value:.3f})" if fell else ""
    return _line(earlier, row, p_value=p_value, fault=fault)


def _line(earlier: Mapping[str, Any], row: Row | None, *, p_value: float, fault: str = "", remark: str = "") -> Checked:
    return Checked(
        title=f"{earlier['encoder']} {earlier['title']}",
        before=statistics.fmean(earlier["values"]),
        after=None if row is None else statistics.fmean(row.values),
        seeds=(len(earlier["seeds"]), 0 if row is None else len(row.seeds)),
        p_value=p_value,
        fault=fault,
        remark=remark,
    )
