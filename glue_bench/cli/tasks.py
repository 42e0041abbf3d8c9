"""`glue-bench tasks`: what every task is, at a glance."""

import argparse
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from glue_bench.cli.shared import CONFIG_DIR_HELP, add_words, print_table
from glue_bench.config import group_options
from glue_bench.config.schema import TaskConfig
from glue_bench.errors import UsageError
from glue_bench.tasks.published import load_published

EPILOG = """\
examples:
  glue-bench tasks
  glue-bench tasks --config-dir my_conf
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's words and options."""
    add_words(parser, "none for this verb")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help=CONFIG_DIR_HELP)


def execute(arguments: argparse.Namespace) -> int:
    """Print one line per task."""

    from glue_bench.config.compose import compose_task

    if arguments.overrides:
        raise UsageError(f"{arguments.overrides[0]}: `tasks` takes no KEY=VALUE")
    published = load_published()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("task", "texts", "labels", "train", "validation", "metrics"):
        table.add_column(header, justify="right" if header in ("train", "validation") else "left")
    for numbers in published:
        table.add_column(f"published: {numbers.name}")
    for name in group_options("task", arguments.config_dir):
        task = compose_task(name, config_dir=arguments.config_dir)
        scores = [numbers.scores.get(name) for numbers in published]
        cells = (name, ", ".join(task.texts), _labels(task), *_sizes(task), ", ".join(task.metrics))
        table.add_row(
            *map(escape, cells), *(escape(f"{score.value} ({score.metric})") if score else "" for score in scores)
        )
    print_table(table)
    return 0


def _labels(task: TaskConfig) -> str:
    if task.label_range is not None:
        return f"{task.label_range[0]:g} to {task.label_range[1]:g}"
    return ", ".join(task.labels)


def _sizes(task: TaskConfig) -> tuple[str, str]:
    """Rows for training, and of each validation split."""
    train, *validation = (
        "?" if (count := task.rows.get(split)) is None else f"{count:,}" for split in (task.train, *task.validation)
    )
    return train, ", ".join(validation)
