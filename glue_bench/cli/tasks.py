"""`glue-bench tasks`: what every task is, at a glance."""

import argparse

from glue_bench.cli.shared import add_options, print_table
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
    add_options(parser, "none for this verb", config_dir=True)


def execute(arguments: argparse.Namespace) -> int:
    """Print one line per task."""
    from glue_bench.config.compose import compose_task

    if arguments.overrides:
        raise UsageError(f"{arguments.overrides[0]}: `tasks` takes no KEY=VALUE")
    published, rows = load_published(), list[list[str]]()
    for name in group_options("task", arguments.config_dir):
        task = compose_task(name, config_dir=arguments.config_dir)
        scores = [numbers.scores.get(name) for numbers in published]
        known = [f"{score.value} ({score.metric})" if score else "" for score in scores]
        rows.append([name, ", ".join(task.texts), _labels(task), *_sizes(task), ", ".join(task.metrics), *known])
    headers = ("task", "texts", "labels", "train", "validation", "metrics")
    print_table([*headers, *(f"published: {n.name}" for n in published)], rows, right=("train", "validation"))
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
