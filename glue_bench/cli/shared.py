"""What several verbs share: output, arguments, KEY=VALUE words, and the folder of results. Imports nothing heavy."""

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from glue_bench.config import conf_folder, group_options
from glue_bench.config.keys import fields_of, walk
from glue_bench.config.schema import RunConfig, RunKeys
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.files import disk_errors, replace_atomically
from glue_bench.reading import is_path, whole_number
from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.listing import HELP, KEYS, Filters
from glue_bench.runs.store import RunStore
from glue_bench.text import visible

PIPE_WIDTH = 160  # width of a table that does not go to a terminal
TABLE_FORMATS = ("console", "markdown", "latex", "json", "csv")
_GROUPS = ("task", "encoder", "data", "recipe", "protocol", "peft", "executor")  # in the order of --help
_INDENT = 34  # column where the description of a key begins


def describe_keys(schema: type[RunKeys]) -> str:
    """Describe the keys of a schema, and the names that the files of conf/ give, for a help text."""
    import yaml

    remarks = yaml.safe_load(Path(__file__).with_name("remarks.yaml").read_text("utf-8"))
    shapes: dict[Any, str] = {list: "=[A,B]", dict: ".KEY=[A,B]", bool: "=true"}
    about = {f"{group}=NAME": " ".join(n for n in group_options(group) if n != "custom") for group in _GROUPS}
    for item in fields_of(schema):
        if is_dataclass(item.hint) and item.name != "task":  # a task is defined by its file alone
            about[f"{item.name}.KEY=VALUE"] = " ".join(inside.name for inside in walk(item.hint))
        elif get_origin(item.hint) is Literal:
            about[f"{item.name}={'|'.join(get_args(item.hint))}"] = item.meaning
        elif item.meaning and item.name not in _GROUPS:
            about[f"{item.name}{shapes.get(get_origin(item.hint) or item.hint, '=VALUE')}"] = item.meaning
    text = "keys (Hydra's grammar; docs/configuration.md lists all with their defaults):\n"
    for word, meaning in about.items():
        lines = textwrap.wrap(meaning + remarks.get(word, ""), 118 - _INDENT, break_on_hyphens=False)
        start = f"  {word}".ljust(_INDENT) if len(word) < _INDENT - 2 else f"  {word}\n{' ' * _INDENT}"
        text += start + f"\n{' ' * _INDENT}".join(lines) + "\n"
    return text


def add_options(
    parser: argparse.ArgumentParser,
    words: str,
    *,
    metavar: str = "KEY=VALUE",
    keys: str = "",
    filters: bool = False,
    config_dir: bool = False,
    formats: Sequence[str] = (),
    out: bool = False,
) -> None:
    """Add the positional words, and the options that several verbs share.

    The verb's help describes `keys`, or, with `filters`, the keys that choose runs.
    """
    if filters:
        words, keys = f"{words}, as below; results_dir=FOLDER", HELP
    parser.epilog = "\n".join(filter(None, [keys, parser.epilog]))
    parser.add_argument("overrides", nargs="*", metavar=metavar, help=words)
    if config_dir:
        about = "your own task/NAME.yaml, encoder/NAME.yaml"
        parser.add_argument("--config-dir", type=path_option, metavar="DIR", help=about)
    if formats:
        parser.add_argument("--format", default=formats[0], choices=formats)
    if out:
        parser.add_argument("--out", type=path_option, metavar="FILE", help="write there instead of the terminal")


def say(text: str) -> None:
    """Print one line to stderr."""
    sys.stderr.write(f"{visible(text)}\n")


def style(out: Path | None = None) -> dict[str, Any]:
    """Return `width` (not rich's, which takes COLUMNS=0 as it is) and `color` of a table for stdout or `out`."""
    terminal = out is None and sys.stdout.isatty()
    return {"width": shutil.get_terminal_size().columns if terminal else PIPE_WIDTH, "color": terminal}


def write_table(
    headers: Sequence[str], rows: list[list[str]], *, title: str, notes: Sequence[str] = (), out: Path | None = None
) -> None:
    """Write a table for people, with notes below, to stdout or `out`."""
    from glue_bench.report.columns import TextTable
    from glue_bench.report.formats import render_tables

    table = TextTable(title=title, headers=headers, rows=rows)
    write_output(render_tables([table], notes, format_name="console", **style(out)), out)


def write_rows(rows: Any, format_name: str, *, like: Sequence[str], out: Path | None) -> None:
    """Write rows as json, or as csv with the columns `like`, to stdout or `out`."""
    from glue_bench.report.formats import render_csv

    text = render_csv(rows, like=like) if format_name == "csv" else json.dumps(rows, indent=1) + "\n"
    write_output(text, out)


def path_option(text: str) -> Path:
    """Return the path that an option names; for argparse."""
    if not text or not is_path(text):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a path in UTF-8, of at most 255 bytes per name")
    return Path(text)


def count_option(text: str) -> int:
    """Return the whole number that an option names; for argparse."""
    if (number := whole_number(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number")
    return number


def write_output(text: str, path: Path | None, *, chosen: bool = True) -> None:
    """Write to stdout, or to the file as `write_file` does; a DiskError if that fails."""
    if path is None:
        sys.stdout.write(text)
    else:
        write_file(text.encode("utf-8"), path, chosen=chosen)


def write_file(content: bytes, path: Path, *, chosen: bool) -> None:
    """Replace a new or regular file atomically, and name it; write through a link, pipe or device that is `chosen`."""
    with disk_errors(path):
        if chosen and (path.is_symlink() or (path.exists() and not path.is_file())):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o666)
            os.set_blocking(descriptor, True)  # opened without: no wait for a reader
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
        else:
            with replace_atomically(path) as temporary:
                temporary.write_bytes(content)
            say(f"written: {path}")


def read_words(
    words: list[str], verb: str, *, keys: Sequence[str] = (), others: Sequence[str] = (), config_dir: Path | None = None
) -> tuple[dict[str, str], RunConfig, RunStore]:
    """Read KEY=VALUE words: return them by key, the configuration of results_dir and of `keys`, and the store it names.

    If a key is given again, its last word counts. `others` are the verb's other keys. A UsageError for an unknown key,
    one without a value, a wrong value, or a missing folder.
    """
    from glue_bench.config.compose import compose_run

    composed, given = ["results_dir", *keys], dict[str, str]()
    known = [*composed, *others]
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise UsageError(f"{word}: not a key of `{verb}`{did_you_mean(key, known)}")
        if not value:
            raise UsageError(f"{word}: `{verb}` takes KEY=VALUE")
        given[key] = value
    if whole_number(given.get("seed", "0")) is None:
        raise UsageError(f"seed={given['seed']}: must be one whole number")
    # Composed for the defaults, which live in conf/, and for the checks; any task will do.
    chosen = [f"{key}={value}" for key, value in given.items() if key in composed]
    config = compose_run([*chosen, "task=rte"], config_dir=config_dir)
    folder = Path(config.results_dir)
    if "results_dir" in given and not folder.is_dir():
        raise UsageError(f"results_dir={folder}: no such folder")
    return given, config, RunStore(folder)


def read_filters(words: Sequence[str]) -> tuple[Filters, RunStore]:
    """Read words that choose runs, and results_dir=FOLDER: return the filters, and the store; errors of both."""
    import yaml

    place = [word for word in words if word.partition("=")[0] == "results_dir"]
    filters = Filters.read([word for word in words if word not in place], others=["results_dir"])
    folder = place[-1].partition("=")[2] if place else ""
    if not place:  # not composed, which takes longer than most reports
        folder = yaml.safe_load((conf_folder() / "config.yaml").read_text("utf-8"))["results_dir"]
    elif len(place) > 1 or not is_path(folder) or folder[:1] in ("", *"'\"~") or not Path(folder).is_dir():
        return filters, read_words(place, "report")[-1]
    return filters, RunStore(Path(folder))


def choose_run(words: Sequence[str], verb: str, *, more: Sequence[str] = ()) -> tuple[FinishedRun, RunConfig]:
    """Find the one finished run with weights that KEY=VALUE words name; return it and the configuration.

    `more` are keys of the configuration that this verb also takes. Errors as in `read_words` and `find_finished`.
    """
    chosen = [word for word in words if word.partition("=")[0].removesuffix("!") in KEYS]
    own, names = [word for word in words if word not in chosen], ("run_id", "task", "encoder", "seed")
    _, config, store = read_words(own, verb, keys=more, others=names)
    return find_finished(store, *chosen, need_model=True), config
