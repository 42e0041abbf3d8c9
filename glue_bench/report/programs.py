"""A report or a comparison for programs: JSON and CSV. docs/report.md documents every field."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from glue_bench.report.comparison import EncoderComparison, TaskComparison
from glue_bench.report.model import Report, Row, ScoreSummary
from glue_bench.runs.setting import Setting
from glue_bench.text import escape_cell

REPORT_SCHEMA_VERSION = 2
_SUMMARY = tuple(item.name for item in fields(ScoreSummary))


def write_report_json(report: Report) -> str:
    """One object per row; scores times 100; `parts` holds every single metric."""
    sections = [
        {
            "encoder": section.encoder,
            "data": section.data,
            "recipe": section.recipe,
            "recipe_changes": dict(section.changes),
            "mean": section.mean,
            "published_mean": section.published_mean,
            "rows": [row_to_json(row) for row in section.rows],
        }
        for section in report.sections
    ]
    return _json({"sections": sections, "footnotes": list(report.footnotes)})


def row_to_json(row: Row) -> dict[str, Any]:
    """A row as the flat object of the JSON report, schema 2."""
    setting, published, verdict = row.setting, row.published, row.verdict
    return {
        "encoder": setting.encoder,
        "data": setting.data,
        "recipe": setting.recipe,
        "recipe_changes": dict(setting.recipe_changes),
        "task": setting.task,
        "title": row.title,
        "metric": row.metric,
        "convention": row.convention,
        "n": row.n,
        "fingerprint": (setting.fingerprint or None) if row.seeds else None,
        "seeds": list(row.seeds),
        "run_ids": list(row.run_ids),
        "values": list(row.values),
        **(asdict(row.summary) if row.summary else dict.fromkeys(_SUMMARY)),
        "published": published.value if published else None,
        "published_source": published.source if published else None,
        "verdict": verdict.kind if verdict else None,
        "verdict_reason": verdict.reason if verdict else "",
        "predicted_low": verdict.low if verdict else None,
        "predicted_high": verdict.high if verdict else None,
        "seeds_needed": verdict.seeds_needed if verdict else None,
        "difference": row.difference,
        "comparable": row.comparable,
        "note": row.note,
        "unfinished": dict(row.unfinished),
        "degenerate": dict(row.degenerate),
        "parts": {part: asdict(summary) for part, summary in row.parts.items()},
        "setting_id": setting.id,
        "init": setting.init,
        "selection": setting.selection,
        "optimistic": row.optimistic,
        "cell": dict(setting.cell) if row.seeds else {},
        "cells": row.cells,
    }


def row_from_json(content: Mapping[str, Any]) -> Row:
    """A finished row that `row_to_json` wrote, as far as `--check` compares it: without published numbers and records.

    Raises:
        KeyError: a field is missing.
        TypeError, ValueError: a field is impossible.
    """
    seeds, values, run_ids = content["seeds"], content["values"], content["run_ids"]
    if len(values) != len(seeds) or not all(_is_number(value) for value in values):
        raise ValueError("the values of a row do not belong to its seeds")
    if not all(content[key] is None or _is_number(content[key]) for key in ("n", *_SUMMARY)):
        raise ValueError("n or the interval of a row is not a number")
    if not isinstance(run_ids, list):
        raise ValueError("the run_ids of a row are not a list")
    known = {key: content[key] for key in ("encoder", "data", "recipe", "recipe_changes", "task", "init", "selection")}
    return Row(
        setting=Setting(
            **known, id=content["setting_id"], cell=content["cell"], fingerprint=content["fingerprint"] or ""
        ),
        **{key: content[key] for key in ("title", "metric", "convention", "n", "seeds", "values")},
        run_ids=[str(run_id) for run_id in run_ids],
        summary=ScoreSummary(**{key: content[key] for key in _SUMMARY}),
    )


def write_report_csv(report: Report) -> str:
    """One line per row, the fields of `row_to_json`; lists and mappings as JSON."""
    rows = [row_to_json(row) for section in report.sections for row in section.rows]
    return _csv(rows, _ROW_FIELDS)


def write_comparison_json(comparison: EncoderComparison) -> str:
    """The fields of `EncoderComparison`."""
    return _json({**asdict(comparison), "tasks": [_task_to_json(task) for task in comparison.tasks]})


def write_comparison_csv(comparison: EncoderComparison) -> str:
    """One line per task, the fields of `TaskComparison`; what an encoder cost as JSON."""
    names = {"encoder": comparison.first, "beside": comparison.second}
    rows = [{**names, **_task_to_json(task)} for task in comparison.tasks]
    return _csv(rows, ["encoder", "beside", *TaskComparison.__dataclass_fields__])


def _task_to_json(task: TaskComparison) -> dict[str, Any]:
    content = asdict(task)
    for cost in (content["first_cost"], content["second_cost"]):
        del cost["tokens_per_second"]  # only the page shows it
    return content


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps({"schema_version": REPORT_SCHEMA_VERSION, **content}, indent=1, allow_nan=False) + "\n"


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    import pandas as pd  # half a second that the other formats need not pay for

    plain = [
        {key: escape_cell(json.dumps(value) if isinstance(value, list | dict) else value) for key, value in row.items()}
        for row in rows
    ]
    # As objects: whole numbers beside empty cells would become fractions.
    return str(pd.DataFrame(plain, columns=list(columns), dtype=object).to_csv(index=False, lineterminator="\n"))


_EMPTY = Row(setting=Setting(encoder="", task="", recipe="", data=""), title="", metric="", convention="")
_ROW_FIELDS = list(row_to_json(_EMPTY))
