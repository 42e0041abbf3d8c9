"""`glue-bench predict`: a finished run on a text, a file or the lines of a pipe."""

import argparse
import sys

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.cli.choice import choose_run
from glue_bench.cli.output import say, write_output
from glue_bench.config.schema import TaskConfig
from glue_bench.data.rows import Texts
from glue_bench.data.texts import empty_rows, join_texts, read_text_file, split_lines
from glue_bench.errors import UsageError
from glue_bench.runs.answers import Answers, answer, render_answers
from glue_bench.runs.finished import check_weights


def execute(arguments: argparse.Namespace) -> int:
    """Print or write what the run's model says of every row."""
    if arguments.text and arguments.file:
        raise UsageError(f"--text and --file {arguments.file}: give one of the two")
    choice = choose_run(arguments.overrides, "predict", more=("trainer.device",))
    run = choice.run
    check_weights(run)  # before a file is read, and before torch is
    rows = _read_rows(arguments, run.task)
    if empty := empty_rows(rows):
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        say(f"glue-bench: warning: row {empty[0]}{more}: a text is empty")
    from glue_bench.runs.inference import load_fine_tuned, predict_texts

    logits = predict_texts(load_fine_tuned(run, device=choice.device), rows.texts)
    answers = answer(logits, run.task, idx=rows.idx)
    if arguments.out is not None:
        by_name = "csv" if arguments.out.suffix == ".csv" else "jsonl"
        write_output(render_answers(answers, arguments.format or by_name), arguments.out)
    elif arguments.text and arguments.format is None and sys.stdout.isatty():
        _print_one(answers, run.title)
    else:
        sys.stdout.write(render_answers(answers, arguments.format or "jsonl"))
    return 0


def _read_rows(arguments: argparse.Namespace, task: TaskConfig) -> Texts:
    if arguments.text:
        return join_texts(arguments.text, task)
    if arguments.file is not None:
        return read_text_file(arguments.file, task)
    if sys.stdin.isatty():
        raise UsageError(f"predict: of what? --text TEXT, --file FILE, or lines of {'<TAB>'.join(task.texts)} to stdin")
    return split_lines(sys.stdin.buffer.read(), task)


def _print_one(answers: Answers, title: str) -> None:
    """The only row, as a small table."""
    console = Console(highlight=False)
    console.print(escape(title), style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("label" if answers.labels else "")
    table.add_column("probability" if answers.labels else "score", justify="right")
    for label, value in zip(answers.labels or [""], answers.values[0].tolist(), strict=True):
        bold = "bold" if answers.labels and label == answers.best(0) else None
        table.add_row(escape(label), f"{value:.4f}", style=bold)
    console.print(table)
