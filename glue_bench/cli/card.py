"""`glue-bench card`: a finished run as a model to give away, and to the hub if that is asked for."""

import argparse
import sys
from pathlib import Path

from glue_bench.cli.choice import choose_run
from glue_bench.cli.output import say
from glue_bench.model_card import check_push, push_card, write_card


def execute(arguments: argparse.Namespace) -> int:
    """Write the folder, and push it only where --push says so."""
    choice = choose_run(arguments.overrides, "card")
    record, repo_id = choice.run.record, arguments.push
    if repo_id is not None:
        check_push(repo_id)
    usual = choice.results_dir / "cards" / record.encoder["name"] / record.task / record.run_id
    folder = write_card(choice.run, Path(arguments.out or usual), repo_id=repo_id)
    sys.stdout.write(f"{folder}\n")
    sys.stdout.flush()
    say(f"card of {choice.run.title}, with its weights and tokenizer; read it before you share it, and add a licence")
    for reason in record.not_comparable_because:
        say(f"the card says: not comparable: {reason}")
    if repo_id is not None:
        _silence_progress()
        say(f"pushed: {push_card(folder, repo_id)}")
    return 0


def _silence_progress() -> None:
    """No bars where there is no terminal."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
