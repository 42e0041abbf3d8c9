"""The report and the comparison of tests/support/scored_runs.py in every format, for the golden files.

python -m tests.support.golden        rewrites tests/golden/: review the difference before you commit it
"""

import tempfile
from pathlib import Path

from glue_bench.config.compose import compose_task
from glue_bench.report.comparison import Side, Sides, compare
from glue_bench.report.formats import render_comparison, render_report
from glue_bench.report.model import CARD_TASKS
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.scored_runs import results_with_two_encoders

FOLDER = Path(__file__).parents[1] / "golden"
ENDINGS = {"console": "txt", "markdown": "md", "latex": "tex", "json": "json", "csv": "csv"}


def render_all(store: RunStore) -> dict[str, str]:
    """Return file name to text."""
    records, published = list(store.load_all()), load_published()
    expected = [compose_task(name) for name in CARD_TASKS]
    report = build_report(records, published, store=store, expected=expected)
    rows = {
        name: [row for row in report.finished if row.setting.encoder == name] for name in ("distilroberta", "roberta")
    }
    first, second = (Side(name=name, store=store, rows=own) for name, own in rows.items())
    comparison = compare(Sides(first=first, second=second), published)
    texts = {f"report.{end}": render_report(report, name, width=160) for name, end in ENDINGS.items()}
    return texts | {f"compare.{end}": render_comparison(comparison, name, width=160) for name, end in ENDINGS.items()}


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in render_all(results_with_two_encoders(Path(folder))).items():
            (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
