"""`glue-bench predict`: a finished run on your own texts: labels and probabilities.

They must match exactly one finished run that kept its weights (save_model=true); run_id may also be a run's folder.
results_dir=FOLDER is where the run is looked for; default: results.
trainer.device=auto|cpu|cuda|cuda:N|mps is where the model runs.

examples:
  glue-bench predict task=sst2 --text "A fine film."
  glue-bench predict task=rte seed=1 --text "A man sleeps." --text "A man is awake."
  glue-bench predict task=sst2 --text "A fine film." --text "A dull one."      (two rows)
  glue-bench predict run_id=seed1-0123456789ab --file my.csv --file more.csv --out answers.csv
  cut -f 2,3 pairs.tsv | glue-bench predict task=mrpc encoder=distilroberta > answers.jsonl
"""

import argparse
import sys

from glue_bench.cli.shared import add_options, choose_run, path_option, say, write_output, write_table
from glue_bench.data.rows import empty_rows
from glue_bench.data.texts import join_files, join_texts, split_lines
from glue_bench.errors import UsageError
from glue_bench.runs.finished import check_weights
from glue_bench.runs.inference import answer, render_answers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "which run", filters=True, out=True)
    about = "a row; once for each text of a pair; repeat it for more rows"
    parser.add_argument("--text", action="append", metavar="TEXT", help=about)
    about = ".csv .tsv .jsonl .json .parquet with the task's columns; repeat it for more files"
    parser.add_argument("--file", action="append", type=path_option, metavar="FILE", help=about)
    parser.add_argument("--format", choices=("jsonl", "csv"), help="default: a table for one text, else jsonl")


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the model's prediction for every row."""
    if arguments.text and arguments.file:
        raise UsageError(f"--text and --file {arguments.file[0]}: give one of the two")
    run, config = choose_run(arguments.overrides, "predict", more=("trainer.device",))
    files = list[str]()
    check_weights(run)  # before a file is read, and before torch is
    if arguments.text:
        rows = join_texts(arguments.text, run.task)
    elif arguments.file:
        rows, files = join_files(arguments.file, run.task)
    elif sys.stdin is None or sys.stdin.isatty():  # None: closed
        columns = "<TAB>".join(run.task.texts)
        raise UsageError(f"predict: pass --text TEXT, --file FILE, or lines of {columns} to stdin")
    else:
        rows = split_lines(sys.stdin.buffer.read(), run.task)
    if empty := empty_rows(rows):
        say(f"glue-bench: warning: {empty}")
    from glue_bench.runs.inference import FineTuned

    logits = FineTuned(run, device=config.trainer.device).predict(rows.texts)
    answers = answer(logits, run.task, rows=rows, files=files if len(arguments.file or ()) > 1 else ())
    out, by_name = arguments.out, "csv" if arguments.out and arguments.out.suffix == ".csv" else "jsonl"
    if arguments.text and len(rows) == 1 and not (out or arguments.format) and sys.stdout.isatty():
        headers = ["", "score"] if run.task.regression else ["label", "probability"]
        values = {"": answers[0]["score"]} if run.task.regression else answers[0]["probabilities"]
        write_table(headers, [[name, f"{value:.4f}"] for name, value in values.items()], title=run.title)
    else:
        write_output(render_answers(answers, arguments.format or by_name), out)
    return 0
