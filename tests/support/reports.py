"""The files of published numbers, and comparisons, for tests of reports."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

from glue_bench.report.comparison import compare
from glue_bench.report.table import choose_sides
from glue_bench.runs.listing import Filters
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.making import DISTILROBERTA, make_record
from tests.support.scored_runs import keep_run

PUBLISHED = load_published()


@functools.cache
def has_latex() -> bool:
    """Check for pdflatex and the packages of a preamble."""
    find = shutil.which("kpsewhich")
    if find is None or shutil.which("pdflatex") is None:
        return False
    return subprocess.run([find, "booktabs.sty"], capture_output=True, check=False).returncode == 0


def assert_compiles(folder: Path) -> None:
    """Compile a document that contains table.tex."""
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n"
    (folder / "paper.tex").write_text(head + "\\input{table}\n\\end{document}\n", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "paper.pdf").stat().st_size > 10_000


def compared(store: RunStore, *words: str, by: str | None = None, only: tuple[str, ...] = ()) -> Any:
    """Compare as the command does."""
    sides = choose_sides(words, store, published=PUBLISHED, filters=Filters.read(only), by=by)
    return compare(sides, PUBLISHED)


def three(value: float, *, task: str = "rte", setting: str = "000") -> list[Record]:
    shift = {1: -0.004, 2: 0.0, 3: 0.004}
    return [
        make_record(
            task=task,
            seed=seed,
            setting=setting,
            encoder=DISTILROBERTA,
            scores={"validation": {"accuracy": value + more}},
        )
        for seed, more in shift.items()
    ]


def changed_task(*metrics: str, save: RunStore | None = None, split: str = "validation") -> Record:
    """Make a run of the encoder `other` on RTE as an own task whose file has had these metrics, with predictions."""
    config = make_record().config
    task = {**config["task"], "metrics": list(metrics), "validation": [split], "conventions": {}}
    facts: dict[str, Any] = {"config": {**config, "task": task}, "encoder": {"name": "other"}}
    facts["data"] = {"source": "hub", "fingerprint": "0", "rows": {"train": 2490, split: 277}}
    if save:
        return keep_run(save, task="rte", **facts)
    return make_record(scores={split: dict.fromkeys(metrics, 0.5)}, **facts)
