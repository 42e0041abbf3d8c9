"""What several verbs share: output, arguments, KEY=VALUE words, and the folder of results. Imports nothing heavy."""

import argparse
import sys
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glue_bench.config import group_options
from glue_bench.config.keys import fields_of
from glue_bench.config.schema import CONVENTIONS, RunConfig, TrainerConfig
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.files import write_text_atomically
from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore

if TYPE_CHECKING:
    from rich.table import Table

    from glue_bench.report import Report

PIPE_WIDTH = 160  # columns of a table that does not go to a terminal
CONFIG_DIR_HELP = "your own task/NAME.yaml, encoder/NAME.yaml"
CHOICE_KEYS = """\
keys (they must match exactly one finished run that kept its weights, by save_model=true):
  task=NAME encoder=NAME seed=N   as many as needed
  run_id=ID                       the name of a run's folder, or its path
  results_dir=FOLDER              default: results
"""


def configuration_help(*more: tuple[str, str]) -> str:
    """The keys of `run` and `sweep`, with the names that conf/ has; `more` are others, each with what it means."""
    recipes, choices = ", ".join(group_options("recipe")), " ".join(group_options("encoder"))
    place = "encoder.path=FOLDER or encoder.hub_id=ORG/NAME encoder.revision=COMMIT"
    entries = [
        ("task=NAME", " ".join(group_options("task"))),
        ("encoder=NAME", f"{choices}; custom takes {place}"),
        (choice("data"), "local needs data.path=FOLDER with <task>/<split>.parquet (.csv .tsv .jsonl)"),
        ("data.max_train_rows=N", "use only the first N training rows; also data.max_eval_rows"),
        ("recipe=NAME", f"{recipes}: epochs, batch size, learning rate, ..."),
        (
            "selection=last|best|holdout",
            "which epoch's weights are scored: the last one's, the best one's on the dev set (optimistic), or the best "
            "one's on held-out training rows (holdout=0.1)",
        ),
        ("trainer.KEY=VALUE", " ".join(key.name for key in fields_of(TrainerConfig))),
        ("init=mnli", "RTE, MRPC and STS-B start from the MNLI model of the same seed, which is run first"),
        ("results_dir=FOLDER", "default: results"),
        ("save_model=true", "keep the weights under model/, loadable by transformers"),
        *more,
    ]
    lines = [
        textwrap.fill(meaning, 116, initial_indent=f"  {key:<32}", subsequent_indent=" " * 34, break_on_hyphens=False)
        for key, meaning in entries
    ]
    title = "keys (Hydra's grammar; docs/configuration.md lists all of them with their defaults):"
    return "\n".join([title, *lines, ""])


def choice(group: str) -> str:
    """GROUP=NAME|NAME, as help texts write it."""
    return f"{group}={'|'.join(group_options(group))}"


def add_words(parser: argparse.ArgumentParser, about: str, *, metavar: str = "KEY=VALUE") -> None:
    """The words after the verb."""
    parser.add_argument("overrides", nargs="*", metavar=metavar, help=about)


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option --out."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")


def add_table_options(parser: argparse.ArgumentParser, *more: str) -> None:
    """The options of the verbs that print tables of results."""
    formats = ("console", "markdown", "latex", "json", "csv", *more)
    parser.add_argument("--format", default="console", choices=formats)
    parser.add_argument("--convention", choices=CONVENTIONS, help="how a task's metrics become one number")
    add_out(parser)


def say(text: str) -> None:
    """One line to the person at the terminal."""
    sys.stderr.write(f"{text}\n")


def style(out: Path | None = None) -> tuple[int | None, bool]:
    """Width (None: the terminal's) and colour of a table that goes to stdout or to `out`."""
    terminal = out is None and sys.stdout.isatty()
    return None if terminal else PIPE_WIDTH, terminal


def print_table(table: "Table") -> None:
    """A table on stdout."""
    from rich.console import Console

    width, terminal = style()
    Console(force_terminal=terminal, width=width).print(table)


def render_to_stdout(report: "Report") -> str:
    """The console table in the width and colours of stdout."""
    from glue_bench.report import render_report

    width, color = style()
    return render_report(report, "console", width=width, color=color)


def write_output(text: str, path: Path | None) -> None:
    """To stdout, or to the file, which is then named on stderr.

    A new or regular file is replaced whole; a link, pipe or device is written through.
    """
    if path is None:
        sys.stdout.write(text)
    elif path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
    else:
        write_text_atomically(path, text)
        say(f"written: {path}")


def read_words(
    words: Sequence[str], known: Collection[str], *, verb: str, listed: Collection[str] = ()
) -> dict[str, str]:
    """Key to value; of several words with one key the last counts.

    Args:
        listed: the known keys that an error lists, where these are not all.

    Raises:
        UsageError: an unknown key, or one without a value.
    """
    given = dict[str, str]()
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise UsageError(f"{word}: not a key of `{verb}`{did_you_mean(key, listed or known)}")
        if not value:
            raise UsageError(f"{word}: `{verb}` takes KEY=VALUE")
        given[key] = value
    return given


def read_seed(given: dict[str, str]) -> int | None:
    """The one seed that was named, if any.

    Raises:
        UsageError: it is no whole number.
    """
    seed = given.get("seed")
    if seed is not None and not seed.isdecimal():
        raise UsageError(f"seed={seed}: must be one whole number")
    return None if seed is None else int(seed)


def results_folder(config: RunConfig, given: Collection[str]) -> Path:
    """The folder of results.

    Args:
        given: the keys that words named.

    Raises:
        UsageError: results_dir was named, and no such folder exists.
    """
    folder = Path(config.results_dir)
    if "results_dir" in given and not folder.is_dir():
        raise UsageError(f"results_dir={folder}: no such folder")
    return folder


def open_results(words: Sequence[str], verb: str) -> tuple[RunStore, list[Record]]:
    """The store that results_dir=FOLDER or the default names, and every record in it that can be read.

    Raises:
        UsageError: another key, or no such folder.
    """
    from glue_bench.config.compose import compose_run

    given = read_words(words, ["results_dir"], verb=verb)
    # Composed only to learn the default of results_dir, which lives in conf/.
    store = RunStore(results_folder(compose_run([*words, "task=rte"]), given))
    return store, list(store.load_all())


def choose_run(words: Sequence[str], verb: str, *, more: Sequence[str] = ()) -> tuple[FinishedRun, RunConfig]:
    """The one finished run with weights that KEY=VALUE words name, and what else they say.

    Args:
        more: keys of the configuration that this verb obeys too.

    Raises:
        UsageError: an unknown key, a wrong value, or no run or several that match.
        InputError: the run kept no weights.
    """
    from glue_bench.config.compose import compose_run

    given = read_words(words, ("run_id", "task", "encoder", "seed", "results_dir", *more), verb=verb)
    seed = read_seed(given)
    # Composed only for the defaults, which live in conf/, and for the checks.
    config = compose_run([*(f"{key}={given[key]}" for key in ("results_dir", *more) if key in given), "task=rte"])
    run = find_finished(
        RunStore(results_folder(config, given)),
        encoder=given.get("encoder"),
        task=given.get("task"),
        seed=seed,
        run_id=given.get("run_id"),
        need_model=True,
    )
    return run, config
