"""Compare a report with an earlier one, for `report --check`. Reads no output format but JSON's fields."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_bench.errors import InputError
from glue_bench.reading import conform, read_json
from glue_bench.report.model import REPORT_SCHEMA_VERSION, Report
from glue_bench.statistics.verdicts import SIGNIFICANCE, adjust_holm, drop_p_value

_NORMAL_95 = 1.959964  # half the width of a 95 % interval in standard errors
# The fields of a row of the JSON report that are read, and their types; the first ones identify its setting.
_SETTING: dict[str, Any] = dict.fromkeys(("encoder", "data", "task", "recipe", "init", "selection"), str)
_SETTING |= {"recipe_changes": Mapping[str, str], "cell": Mapping[str, Any]}
_READ: dict[str, Any] = {"title": str, "metric": str, "n": int | None, "fingerprint": str | None, "setting_id": str}
_READ |= {"seeds": list[int], "run_ids": list[str], "values": list[float], "low": float | None, "high": float | None}
_HIGHEST = 100  # scores are times 100

JsonRow = Mapping[str, Any]  # as `Row.to_json` writes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One row of the earlier report, compared with the same row now."""

    title: str  # encoder and task
    before: float  # median over the seeds, times 100, as the table shows it
    after: float | None  # None where no finished run is left
    seeds: tuple[int, int]  # before and after
    fault: str  # why the check fails; empty if it does not
    remark: str = ""  # what else to know


def check_report(report: Report, baseline: Sequence[JsonRow]) -> list[Checked]:
    """Compare every row of the earlier report, as `read_baseline` reads it, with the row of the same setting now."""
    now = [row.to_json() for row in report.finished]
    found = [_find(earlier, [row for row in now if row["metric"] == earlier["metric"]]) for earlier in baseline]
    raw = [_p_value(earlier, row) if row else None for earlier, row in zip(baseline, found, strict=True)]
    adjusted = iter(adjust_holm([p for p in raw if p is not None]))
    checked = []
    for earlier, row, p in zip(baseline, found, raw, strict=True):
        p_value = None if p is None else next(adjusted)
        before, after = statistics.median(earlier["values"]), statistics.median(row["values"]) if row else None
        if row is not None:
            fault = _find_fault(earlier, row, p_value=p_value)
        elif (other := _find(earlier, now)) is not None:
            fault = f"now shown as {other['metric']}, before as {earlier['metric']}: use the same --convention"
        else:
            fault = "this setting no longer has a finished run"
        unknown = p is None and after is not None and after < before and not fault
        seeds = (len(earlier["seeds"]), len(row["seeds"]) if row else 0)
        remark = "lower, but the noise of these runs is unknown" if unknown else ""
        title = f"{earlier['encoder']} {earlier['title']}"
        checked.append(Checked(title=title, before=before, after=after, seeds=seeds, fault=fault, remark=remark))
    return checked


def read_baseline(path: Path) -> list[JsonRow]:
    """Read the rows with finished runs from a file that `report --format json` wrote.

    An InputError if the file cannot be read, or is not such a report.
    """
    try:
        content = read_json(path)
        version = content["schema_version"]
        if version != REPORT_SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}; this glue-bench writes {REPORT_SCHEMA_VERSION}")
        rows = [_read_row(row) for section in content["sections"] for row in section["rows"] if row["seeds"]]
        if not rows:
            raise ValueError("it has no row with finished runs, so there is nothing to check")
    except OSError as error:
        raise InputError(f"--check {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"--check {path}: not a report of `report --format json` ({reason})") from error
    return rows


def _read_row(content: JsonRow) -> JsonRow:
    """Return the fields of a row that are compared; raise an error if one is missing or impossible."""
    row = {key: content[key] for key in (*_SETTING, *_READ)}
    for key, hint in (_SETTING | _READ).items():
        conform(hint, row[key], where=f"a row.{key}")
    if not len(row["values"]) == len(row["seeds"]) == len(row["run_ids"]):
        raise ValueError("the values or run_ids of a row do not belong to its seeds")
    if not all(-_HIGHEST <= number <= _HIGHEST for number in (*row["values"], row["low"] or 0, row["high"] or 0)):
        raise ValueError(f"a value or the interval of a row is not between -{_HIGHEST} and {_HIGHEST}")
    return row


def _find(earlier: JsonRow, now: Sequence[JsonRow]) -> JsonRow | None:
    """Find the row of the same setting as far as JSON shows it; of several, the one most like the earlier row."""

    def likeness(row: JsonRow) -> tuple[bool, int, bool]:
        # A setting has two rows if its runs differ in precision: then the shared runs decide.
        shared = len({*row["run_ids"]} & {*earlier["run_ids"]})
        return row["setting_id"] == earlier["setting_id"], shared, row["fingerprint"] == earlier["fingerprint"]

    return max((row for row in now if all(row[key] == earlier[key] for key in _SETTING)), key=likeness, default=None)


def _p_value(earlier: JsonRow, row: JsonRow) -> float | None:
    """Return the p-value of a drop; None where the noise is unknown."""
    known = all(each[end] is not None for each in (earlier, row) for end in ("low", "high"))
    first, second = ((each["high"] - each["low"]) / (2 * _NORMAL_95) if known else 0.0 for each in (earlier, row))
    return drop_p_value(earlier["values"], row["values"], errors=(first, second) if known else None)


def _find_fault(earlier: JsonRow, row: JsonRow, *, p_value: float | None) -> str:
    if row["n"] != earlier["n"]:
        return f"{row['n']} dev rows, {earlier['n']} before: not the same test"
    if row["fingerprint"] and earlier["fingerprint"] and row["fingerprint"] != earlier["fingerprint"]:
        return "other texts or labels than before: not the same test"
    drop = statistics.fmean(earlier["values"]) - statistics.fmean(row["values"])
    fell = p_value is not None and p_value < SIGNIFICANCE and drop > 0
    return f"the mean fell by {drop:.1f} (adjusted p {p_value:.3f})" if fell else ""
