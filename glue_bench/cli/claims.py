"""`glue-bench claims`: every numeric claim of the DistilRoBERTa card, and whether it holds here."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from glue_bench.card_claims import Card, ModelFiles, check_card, find_files, load_card, render_claims
from glue_bench.cli.output import PIPE_WIDTH, say, write_output
from glue_bench.compose import compose_run
from glue_bench.config import RunConfig
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.published import load_published
from glue_bench.records import RunStore

EXIT_CONTRADICTED = 1
CARD = "distilroberta"
LEAST_REPEATS = 5  # fewer give no interval of 90 %
_KEYS = ("results_dir", "trainer.device", "trainer.precision", "trainer.engine")


def execute(arguments: argparse.Namespace) -> int:
    """Check, and print or write the table; 1 if a claim is contradicted."""
    card = load_card(CARD)
    words, paths = _sort_words(arguments.overrides, card)
    if arguments.repeats < LEAST_REPEATS:
        raise UsageError(f"--repeats {arguments.repeats}: {LEAST_REPEATS} or more; --quick measures no speed")
    configs = {name: _compose(model.encoder, words, paths.get(name)) for name, model in card.models.items()}
    config = configs[CARD]
    results_dir = Path(config.results_dir)
    if any(word.startswith("results_dir=") for word in words) and not results_dir.is_dir():
        raise UsageError(f"results_dir={results_dir}: no such folder")
    report = check_card(
        card,
        files={name: _find(name, one, paths.get(name)) for name, one in configs.items()},
        records=RunStore(results_dir).load_all(),
        published=load_published(results_dir / "published"),
        settings=config.trainer,
        repeats=None if arguments.quick else arguments.repeats,
        on_progress=say,
    )
    terminal = arguments.out is None and sys.stdout.isatty()
    text = render_claims(report, arguments.format, width=None if terminal else PIPE_WIDTH, color=terminal)
    write_output(text, arguments.out)
    return EXIT_CONTRADICTED if report.contradicted else 0


def _sort_words(words: Sequence[str], card: Card) -> tuple[list[str], dict[str, str]]:
    """The configuration's words, and the folder that MODEL.path names for each of the card's models."""
    kept, paths = list[str](), dict[str, str]()
    keys = [*_KEYS, *(f"{name}.path" for name in card.models)]
    for word in words:
        key, _, value = word.partition("=")
        if key not in keys:
            raise UsageError(f"{word}: not a key of `claims`{did_you_mean(key, keys)}")
        if key in _KEYS:
            kept.append(word)
        elif not Path(value).expanduser().is_dir() or not value:
            raise UsageError(f"{word}: no such folder")
        else:
            paths[key.removesuffix(".path")] = value
    return kept, paths


def _compose(encoder: str, words: Sequence[str], path: str | None) -> RunConfig:
    chosen = [f"encoder={encoder}"] if path is None else ["encoder=custom", f"encoder.path={path}"]
    return compose_run(["task=rte", *chosen, *words])


def _find(name: str, config: RunConfig, path: str | None) -> ModelFiles:
    """Weights are downloaded for the card's own model alone: nothing is claimed that needs the others'."""
    return find_files(config.encoder, weights=name == CARD or path is not None)
