"""`glue-bench card`: a finished run as a model to share: weights, tokenizer and a model card.

They must match exactly one finished run that kept its weights (save_model=true); run_id may also be a run's folder.
results_dir=FOLDER is where the run is looked for; default: results.

examples:
  glue-bench card task=rte seed=1
  glue-bench card run_id=seed1-0123456789ab --out my_model
  glue-bench card task=rte seed=1 --push my-org/distilroberta-rte

Nothing leaves this machine without --push. A folder or repository that holds anything else is never overwritten.
"""

import argparse
import sys
from pathlib import Path

from glue_bench.cli.shared import add_options, choose_run, path_option, say
from glue_bench.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "which run", filters=True)
    parser.add_argument("--out", type=path_option, metavar="FOLDER", help="default: a folder under RESULTS_DIR/cards")
    parser.add_argument("--push", metavar="ORG/NAME", help="also upload it to a new, private repository on the hub")


def execute(arguments: argparse.Namespace) -> int:
    """Write the folder, and push it only if --push says so."""
    from glue_bench.model_card import check_push, push_card, write_card

    run, config = choose_run(arguments.overrides, "card")
    record, repo_id = run.record, arguments.push
    if repo_id is not None:
        check_push(repo_id)
    out = arguments.out
    if out is None:
        out = Path(config.results_dir).joinpath("cards", *record.place)
        if link := next((path for path in [out, *out.parents[:3]] if path.is_symlink()), None):
            raise UsageError(f"{link}: is a link; remove it, or choose a folder with --out")
    folder = write_card(run, out, repo_id=repo_id)
    sys.stdout.write(f"{folder}\n")
    sys.stdout.flush()
    say(f"model card of {run.title}, with its weights and tokenizer; read it before you share it, and add a licence")
    for reason in record.not_comparable_because:
        say(f"the card says: not comparable: {reason}")
    if repo_id is not None:
        say(f"pushed: {push_card(folder, repo_id)}")
    return 0
