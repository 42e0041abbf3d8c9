"""A report or a comparison for programs: JSON and CSV. docs/report.md documents every field."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from glue_bench.report.comparison import EncoderComparison, TaskComparison
from glue_bench.report.model import Report, Row
from glue_bench.text import escape_cell

REPORT_SCHEMA_VERSION = 2


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
            "rows": [asdict(row) for row in section.rows],
        }
        for section in report.sections
    ]
    return _json({"sections": sections, "footnotes": list(report.footnotes)})


def write_report_csv(report: Report) -> str:
    """One line per row, the fields of `Row`; lists and mappings as JSON."""
    rows = [asdict(row) for section in report.sections for row in section.rows]
    return _csv(rows, list(Row.__dataclass_fields__))


def write_comparison_json(comparison: EncoderComparison) -> str:
    """The fields of `EncoderComparison`."""
    return _json(asdict(comparison))


def write_comparison_csv(comparison: EncoderComparison) -> str:
    """One line per task, the fields of `TaskComparison`; what an encoder cost as JSON."""
    rows = [{"encoder": comparison.first, "beside": comparison.second, **asdict(task)} for task in comparison.tasks]
    return _csv(rows, ["encoder", "beside", *TaskComparison.__dataclass_fields__])


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
