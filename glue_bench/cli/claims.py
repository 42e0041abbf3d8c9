"""`glue-bench claims`: every numeric claim of the DistilRoBERTa model card, checked here.

keys:
  results_dir=FOLDER              finished runs, for the claims about GLUE scores; default: results
  distilroberta.path=FOLDER       the model's files, if the hub and its cache are out of reach
  roberta.path=FOLDER
  trainer.device=auto|cpu|cuda    what speed is measured on; also trainer.precision,
                                  trainer.engine=padded (transformers' own modules; default: without padding)

Without the models' files, parameters are counted from the stated architecture and speed is measured with random
weights; other claims are listed as not checkable. It takes two minutes on two cores, or seconds with --quick.

exit code: 1 if a claim is contradicted or damaged records were left out, 0 if not; other codes as for every verb

examples:
  glue-bench claims
  glue-bench claims --quick --format markdown --out claims.md
  glue-bench claims distilroberta.path=my_models/distilroberta-base roberta.path=my_models/roberta-base
"""

import argparse
from pathlib import Path

from glue_bench.cli.shared import TABLE_FORMATS, add_options, count_option, read_words, say, style, write_output
from glue_bench.errors import EXIT_LACKING, InputError, UsageError

CARD = "distilroberta"
LEAST_REPEATS = 5  # fewer give no interval of 90 %


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "as below", formats=TABLE_FORMATS, out=True)
    parser.add_argument("--quick", action="store_true", help="measure no speed")
    parser.add_argument("--repeats", type=count_option, default=8, metavar="N", help="measured pairs; default: 8")


def execute(arguments: argparse.Namespace) -> int:
    """Check, and print or write the table; return 1 if a claim is contradicted."""
    from glue_bench.claims import ClaimVerdict, check_card, load_card, render_claims
    from glue_bench.config.compose import compose_run
    from glue_bench.config.overrides import expand_home

    card = load_card(CARD)
    keys = ("trainer.device", "trainer.precision", "trainer.engine")
    models = [f"{name}.path" for name in card.models]
    given, config, store = read_words(arguments.overrides, "claims", keys=keys, others=models)
    paths = {key.removesuffix(".path"): value for key, value in given.items() if key in models}
    for name, path in paths.items():
        if not Path(expand_home(f"{name}.path", path)).is_dir():
            raise UsageError(f"{name}.path={path}: no such folder")
    if arguments.repeats < LEAST_REPEATS:
        raise UsageError(f"--repeats {arguments.repeats}: must be {LEAST_REPEATS} or more; --quick measures no speed")
    say("reading the models' files")
    from glue_bench.claims.models import Model

    checked = {}
    for name, model in card.models.items():
        place = ["encoder=custom", f"encoder.path={paths[name]}"] if name in paths else [f"encoder={model.encoder}"]
        # Weights are downloaded for the card's own model alone: no claim needs the others'.
        checked[name] = Model(model, compose_run(["task=rte", *place]).encoder, weights=name == CARD)
        if name in paths and len(why := checked[name].missing.values()) == 3:  # configuration, tokenizer, weights
            raise InputError(f"{name}.path={paths[name]}: holds no model: {'; '.join(why)}")
    settings, repeats = config.trainer, None if arguments.quick else arguments.repeats
    report = check_card(card, models=checked, store=store, settings=settings, repeats=repeats, on_progress=say)
    write_output(render_claims(report, arguments.format, **style(arguments.out)), arguments.out)
    return EXIT_LACKING if report.counts[ClaimVerdict.CONTRADICTED] or store.left_out else 0
