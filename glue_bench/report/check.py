"""A report checked against an earlier one, for continuous integration: what fell, and what is gone."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glue_bench.errors import InputError
from glue_bench.report.model import REPORT_SCHEMA_VERSION, Report, Row
from glue_bench.statistics.paired import adjust_holm
from glue_bench.statistics.verdicts import drop_p_value, drop_p_value_of_rows

SIGNIFICANCE = 0.05  # of the p-value, adjusted over the rows
_NORMAL_95 = 1.959964  # half the width of a 95 % interval in standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One row of the earlier report, and what became of it."""

    title: str  # encoder and task
    before: float  # mean over the seeds, times 100
    after: float | None  # None where no finished run is left
    seeds: tuple[int, int]  # before and after
    fault: str  # why the check fails; empty if it does not
    remark: str = ""  # what else to know


def check_report(report: Report, baseline: Sequence[Row]) -> list[Checked]:
    """Compare every row of the earlier report, as `read_baseline` reads it, with the row of the same setting now."""
    now = [row for section in report.sections for row in section.rows if row.seeds]
    found = [(earlier, _find(earlier, [row for row in now if row.metric == earlier.metric])) for earlier in baseline]
    raw = [None if row is None else _p_value(earlier, row) for earlier, row in found]
    adjusted = iter(adjust_holm([p for p in raw if p is not None]))
    checked = []
    for (earlier, row), p in zip(found, raw, strict=True):
        adjusted_p = None if p is None else next(adjusted)
        lower = row is not None and statistics.fmean(row.values) < statistics.fmean(earlier.values)
        fault = _find_fault(earlier, row, p_value=adjusted_p) if row else _explain_absence(earlier, _find(earlier, now))
        checked.append(
            Checked(
                title=f"{earlier.encoder} {earlier.title}",
                before=statistics.fmean(earlier.values),
                after=statistics.fmean(row.values) if row else None,
                seeds=(len(earlier.seeds), len(row.seeds) if row else 0),
                fault=fault,
                remark="lower, but the noise of these runs is unknown" if lower and p is None and not fault else "",
            )
        )
    return checked


def read_baseline(path: Path) -> list[Row]:
    """The rows with finished runs in a file that `report --format json` wrote.

    Raises:
        InputError: it is not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
        if version != REPORT_SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}; this glue-bench writes {REPORT_SCHEMA_VERSION}")
        rows = [Row.from_json(row) for section in content["sections"] for row in section["rows"] if row["seeds"]]
        if not rows:
            raise ValueError("it has no row with finished runs, so there is nothing to check")
    except OSError as error:
        raise InputError(f"--check {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, json.JSONDecodeError):
            reason = "not JSON"
        else:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"--check {path}: not a report of `report --format json` ({reason})") from error
    return rows


def _find(earlier: Row, now: Sequence[Row]) -> Row | None:
    """The row of the same setting as far as JSON shows it; of several, the one most like the earlier row."""

    def likeness(row: Row) -> tuple[bool, int, bool]:
        # Runs of one setting stand in two rows where their precision differs: then the runs decide.
        shared = len({*row.run_ids} & {*earlier.run_ids})
        return row.setting.id == earlier.setting.id, shared, row.setting.fingerprint == earlier.setting.fingerprint

    alike = [row for row in now if _shown_setting(row) == _shown_setting(earlier)]
    return max(alike, key=likeness, default=None)


def _shown_setting(row: Row) -> tuple[object, ...]:
    setting = row.setting
    names = (setting.encoder, setting.data, setting.task, setting.recipe, setting.init, setting.selection)
    return *names, setting.recipe_changes, setting.cell


def _p_value(earlier: Row, row: Row) -> float | None:
    """The p-value of a drop; None where the noise of single runs, or of seeds that all score the same, is unknown."""
    before, after = list(earlier.values), list(row.values)
    if min(len(before), len(after)) > 1 and np.ptp(before) + np.ptp(after) > 0:
        return drop_p_value(before, after)
    intervals = [each.summary.interval if each.summary else None for each in (earlier, row)]
    known = [(high - low) / (2 * _NORMAL_95) for low, high in filter(None, intervals)]
    if len(known) < len(intervals):
        return None
    return drop_p_value_of_rows((statistics.fmean(before), known[0]), (statistics.fmean(after), known[1]))


def _explain_absence(earlier: Row, other: Row | None) -> str:
    if other is None:
        return "no finished run of this setting any more"
    return f"now shown as {other.metric}, {earlier.metric} before: name the same --convention"


def _find_fault(earlier: Row, row: Row, *, p_value: float | None) -> str:
    """Why the check of a row fails; empty if it does not."""
    if row.n != earlier.n:
        return f"{row.n} dev rows, {earlier.n} before: not the same test"
    if len({row.setting.fingerprint, earlier.setting.fingerprint} - {""}) > 1:
        return "other texts or labels than before: not the same test"
    drop = statistics.fmean(earlier.values) - statistics.fmean(row.values)
    fell = p_value is not None and p_value < SIGNIFICANCE and drop > 0
    return f"fell by {drop:.1f} (adjusted p {p_value:.3f})" if fell else ""
