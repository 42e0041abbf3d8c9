"""Rows of reports, for tests."""

from typing import Any

import pytest

from glue_bench.report.model import Report, Row, Section
from glue_bench.report.table import build_report
from glue_bench.runs.record import Record
from glue_bench.tasks.published import load_published
from tests.support.making import DISTILROBERTA, make_record

PUBLISHED = load_published()


def approx(value: object) -> Any:
    """Return pytest.approx, typed so that it may be compared with anything."""
    return pytest.approx(value)


def report_of(*records: Record, convention: str | None = None) -> Report:
    return build_report(records, PUBLISHED, convention=convention)


def row_of(*records: Record, convention: str | None = None) -> Row:
    (section,) = report_of(*records, convention=convention).sections
    (row,) = section.rows
    return row


def means(section: Section) -> list[tuple[float | None, float | None]]:
    """Return ours and the published mean of each line that has all eight tasks."""
    return [(line.mean, line.published_mean) for line in section.lines if line.mean is not None]


def published(row: Row) -> float | None:
    return row.published.value if row.published else None


def mrpc(seed: int, accuracy: float, f1: float, **changes: object) -> Record:
    scores = {"validation": {"accuracy": accuracy, "f1": f1}}
    return make_record(task="mrpc", seed=seed, scores=scores, encoder=DISTILROBERTA, **changes)  # type: ignore[arg-type]
