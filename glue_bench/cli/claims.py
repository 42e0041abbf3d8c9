"""`glue-bench claims`: every numeric claim of the DistilRoBERTa card, and whether it holds here."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from glue_bench.claims import ModelFiles, check_card, find_files, load_card, render_claims
from glue_bench.cli.output import PIPE_WIDTH, say, write_output
from glue_bench.cli.results import read_words, results_folder
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import RunConfig
from glue_bench.errors import InputError, UsageError
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published

EXIT_CONTRADICTED = 1
CARD = "distilroberta"
LEAST_REPEATS = 5  # fewer give no interval of 90 %
_KEYS = ("results_dir", "trainer.device", "trainer.precision", "trainer.engine")


def execute(arguments: argparse.Namespace) -> int:
    """Check, and print or write the table; 1 if a claim is contradicted."""
    card = load_card(CARD)
    own = [f"{name}.path" for name in card.models]
    given = read_words(arguments.overrides, [*_KEYS, *own], verb="claims")
    words = [f"{key}={value}" for key, value in given.items() if key in _KEYS]
    paths = {key.removesuffix(".path"): value for key, value in given.items() if key in own}
    for name, path in paths.items():
        if not Path(path).expanduser().is_dir():
            raise UsageError(f"{name}.path={path}: no such folder")
    if arguments.repeats < LEAST_REPEATS:
        raise UsageError(f"--repeats {arguments.repeats}: {LEAST_REPEATS} or more; --quick measures no speed")
    configs = {name: _compose(model.encoder, words, paths.get(name)) for name, model in card.models.items()}
    config = configs[CARD]
    results_dir = results_folder(config, given)
    report = check_card(
        card,
        files={name: _find(name, one, paths.get(name)) for name, one in configs.items()},
        store=RunStore(results_dir),
        published=load_published(results_dir / "published"),
        settings=config.trainer,
        repeats=None if arguments.quick else arguments.repeats,
        on_progress=say,
    )
    terminal = arguments.out is None and sys.stdout.isatty()
    text = render_claims(report, arguments.format, width=None if terminal else PIPE_WIDTH, color=terminal)
    write_output(text, arguments.out)
    return EXIT_CONTRADICTED if report.contradicted else 0


def _compose(encoder: str, words: Sequence[str], path: str | None) -> RunConfig:
    chosen = [f"encoder={encoder}"] if path is None else ["encoder=custom", f"encoder.path={path}"]
    return compose_run(["task=rte", *chosen, *words])


def _find(name: str, config: RunConfig, path: str | None) -> ModelFiles:
    """Weights are downloaded for the card's own model alone: nothing is claimed that needs the others'."""
    files = find_files(config.encoder, weights=name == CARD or path is not None)
    if path is not None and files.empty:
        raise InputError(f"{name}.path={path}: holds no model: {'; '.join(files.missing.values())}")
    return files
