"""`glue-bench tasks`: what every task is, at a glance."""

import argparse
import sys

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.cli.output import PIPE_WIDTH
from glue_bench.config.compose import compose_task
from glue_bench.config.overrides import group_options
from glue_bench.config.schema import TaskConfig
from glue_bench.errors import UsageError
from glue_bench.tasks.published import load_published


def execute(arguments: argparse.Namespace) -> int:
    """Print one line per task."""
    if arguments.overrides:
        raise UsageError(f"{arguments.overrides[0]}: `tasks` takes no KEY=VALUE")
    tables = load_published()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in (
        "task",
        "texts",
        "labels",
        "train",
        "validation",
        "metrics",
        *(f"published: {t.name}" for t in tables),
    ):
        table.add_column(header, justify="right" if header in ("train", "validation") else "left")
    for name in group_options("task", arguments.config_dir):
        task = compose_task(name, config_dir=arguments.config_dir)
        scores = [t.scores.get(name) for t in tables]
        published = [f"{score.value} ({score.metric})" if score else "" for score in scores]
        cells = (
            name,
            ", ".join(task.texts),
            _labels(task),
            *_sizes(task),
            ", ".join(task.metrics),
            *published,
        )
        table.add_row(*(escape(cell) for cell in cells))
    terminal = sys.stdout.isatty()
    Console(force_terminal=terminal, width=None if terminal else PIPE_WIDTH).print(table)
    return 0


def _labels(task: TaskConfig) -> str:
    if task.label_range is not None:
        return f"{task.label_range[0]:g} to {task.label_range[1]:g}"
    return ", ".join(task.labels)


def _sizes(task: TaskConfig) -> tuple[str, str]:
    rows = [task.rows.get(split) for split in task.validation]
    validation = ", ".join("?" if count is None else f"{count:,}" for count in rows)
    train = task.rows.get(task.train)
    return "?" if train is None else f"{train:,}", validation
