"""The grammar of the command line, as argparse parsers. Knows no verb's work."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from glue_bench import __version__
from glue_bench.cli.help import EPILOGS, TOP_EPILOG, VERBS, WORDS
from glue_bench.errors import did_you_mean

_TAKING_VALUE = (
    *("--config-dir", "--format", "--convention", "--out", "--plan", "--index", "--check"),
    *("--text", "--file", "--push", "--fill", "--pick", "--repeats"),
)


class _Parser(argparse.ArgumentParser):
    """Errors of one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"glue-bench: {message}\n")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the words after `glue-bench`; exits with 0 for help and 2 for a mistake."""
    parser = _Parser(
        prog="glue-bench",
        description="Fine-tune encoders on GLUE, and compare the scores with the published ones.",
        epilog=TOP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"glue-bench {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for name, about in VERBS.items():
        _add_verb(verbs, name, about)
    first = next((word for word in argv if not word.startswith("-")), None)
    if first is not None and first not in VERBS:
        parser.error(f"no such verb: {first}{did_you_mean(first, VERBS)}")
    if first is None and not argv:
        parser.print_help()
        parser.exit(2)
    arguments, unknown = parser.parse_known_args(_words_last(argv))
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_tell_key(unknown[0], arguments.verb)}")
    if arguments.verb is None:
        parser.error(f"name a verb. Allowed: {', '.join(VERBS)}")
    return arguments


def _add_verb(verbs: "argparse._SubParsersAction[_Parser]", name: str, about: str) -> None:
    parser = verbs.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=EPILOGS[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    metavar, about_words = WORDS.get(name, ("KEY=VALUE", "configuration, as below"))
    parser.add_argument("overrides", nargs="*", metavar=metavar, help=about_words)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    if name in ("run", "sweep", "tasks", "submit", "doctor"):
        parser.add_argument("--config-dir", type=Path, metavar="DIR", help="your own task/NAME.yaml, encoder/NAME.yaml")
    add_options = _OPTIONS.get(name)
    if add_options is not None:
        add_options(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--multirun", action="store_true", help="comma-separated values make several runs")


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what is missing, done, running, failed")
    parser.add_argument("--retry-failed", action="store_true", help="run again what failed or diverged")
    parser.add_argument("--plan", type=Path, metavar="FILE.jsonl", help="write the plan there, one run a line")
    parser.add_argument("--index", type=int, metavar="N", help="run line N (from 0) of --plan, and nothing else")


def _add_report(parser: argparse.ArgumentParser) -> None:
    _add_table(parser, "html")
    parser.add_argument("--check", type=Path, metavar="FILE.json", help="fail if a score fell since that report")


def _add_table(parser: argparse.ArgumentParser, *more: str) -> None:
    """What the verbs that print tables of results have in common."""
    from glue_bench.config.schema import CONVENTIONS

    formats = ("console", "markdown", "latex", "json", "csv", *more)
    parser.add_argument("--format", default="console", choices=formats)
    parser.add_argument("--convention", choices=CONVENTIONS, help="which scores the table's numbers are means of")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", action="append", metavar="TEXT", help="one row; once for each text of a pair")
    parser.add_argument("--file", type=Path, metavar="FILE", help=".csv .tsv .jsonl .parquet with the task's columns")
    parser.add_argument("--format", choices=("jsonl", "csv"), help="default: a table for one text, else jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: a folder under RESULTS_DIR/cards")
    parser.add_argument("--push", metavar="ORG/NAME", help="also upload it to a new, private repository on the hub")


def _add_submit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE.zip", help="default: RESULTS_DIR/submission-ENCODER.zip")
    parser.add_argument("--pick", choices=("median", "best"), help="of several seeds, by dev score; default: median")
    parser.add_argument(
        "--fill",
        action="append",
        default=[],
        metavar="TASK[=PREDICTION]",
        help="one constant prediction in place of a run: the class with the code 0, or the one given",
    )


def _add_claims(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", default="console", choices=("console", "markdown", "latex", "json", "csv"))
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")
    parser.add_argument("--quick", action="store_true", help="measure no speed")
    parser.add_argument("--repeats", type=int, default=8, metavar="N", help="pairs of a measured speed; default: 8")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", default="console", choices=("console", "json"))


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _add_run,
    "sweep": _add_sweep,
    "report": _add_report,
    "compare": _add_table,
    "predict": _add_predict,
    "card": _add_card,
    "submit": _add_submit,
    "claims": _add_claims,
    "doctor": _add_doctor,
}


def _tell_key(option: str, verb: str | None) -> str:
    """What to write in place of an option that is called like a key of the configuration."""
    from glue_bench.config.overrides import find_keys  # Hydra's parser: for mistakes alone

    name, _, value = option.lstrip("-").partition("=")
    keys = find_keys(name.replace("-", "_")) if verb in ("run", "sweep", "doctor") else {}
    words = [f"{key}={value or ('true' if kind is bool else 'VALUE')}" for key, kind in keys.items()]
    return f"; keys are written KEY=VALUE: {' or '.join(words)}" if words else ""


def _words_last(argv: Sequence[str]) -> list[str]:
    """The verb, then options, then KEY=VALUE words: argparse takes positional words only in one piece."""
    options, words, pending = list[str](), list[str](), False
    for word in argv:
        if pending and options[-1] == "--text":
            options[-1], pending = f"--text={word}", False  # a text may begin with a dash
        elif pending or word.startswith("-"):
            options.append(word)
            pending = not pending and word in _TAKING_VALUE
        else:
            words.append(word)
    return [*words[:1], *options, *words[1:]]
