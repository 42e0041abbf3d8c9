"""`glue-bench tasks`: the tasks: texts, labels, sizes, metrics, published numbers.

examples:
  glue-bench tasks
  glue-bench tasks --config-dir my_conf
"""

import argparse

from glue_bench.cli.shared import add_options, write_table
from glue_bench.config import group_options
from glue_bench.errors import UsageError
from glue_bench.tasks.published import load_published


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "none for this verb", config_dir=True)


def execute(arguments: argparse.Namespace) -> int:
    """Print one line per task."""
    from glue_bench.config.compose import compose_task

    if arguments.overrides:
        raise UsageError(f"{arguments.overrides[0]}: `tasks` takes no KEY=VALUE")
    published = [table for table in load_published() if table.name in ("distilroberta", "roberta")]
    rows = list[list[str]]()
    for name in group_options("task", arguments.config_dir):
        task = compose_task(name, config_dir=arguments.config_dir)
        scores = [numbers.scores.get(name) for numbers in published]
        known = [f"{score.value} ({score.metric})" if score else "" for score in scores]
        labels = " to ".join(f"{label:g}" for label in task.label_range or []) or ", ".join(task.labels)
        counts = (task.rows.get(split) for split in (task.train, *task.validation))
        train, *validation = ("?" if count is None else f"{count:,}" for count in counts)
        facts = [", ".join(texts) for texts in (task.texts, [labels], [train], validation, task.metrics)]
        rows.append([name, *facts, *known])
    headers = ["task", "texts", "labels", "train", "validation", "metrics"]
    write_table([*headers, *(f"published: {table.name}" for table in published)], rows, title="Tasks")
    return 0
