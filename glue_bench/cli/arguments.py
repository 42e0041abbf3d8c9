"""The grammar of the command line and its help, as argparse parsers. Knows no verb's work."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from glue_bench import __version__
from glue_bench.errors import did_you_mean

VERBS = {
    "run": "one fine-tune",
    "sweep": "tasks x seeds x encoders, and the table",
    "report": "the table again, from what is on disk",
    "claims": "every numeric claim of the DistilRoBERTa card, checked here",
    "tasks": "the tasks: texts, labels, sizes, metrics, published numbers",
}

_KEYS = """\
keys (Hydra's grammar; every default is in conf/):
  task=NAME                       mnli qqp qnli sst2 cola stsb mrpc rte wnli
  encoder=NAME                    distilroberta roberta minilm, or custom with
                                  encoder.path=FOLDER or encoder.hub_id=ORG/NAME encoder.revision=COMMIT
  data=hub|local|sample           local needs data.path=FOLDER with <task>/<split>.parquet (.csv .tsv .jsonl)
  data.max_train_rows=N           the first N rows; also data.max_eval_rows
  recipe=NAME                     default hf_2019 roberta_paper fairseq: epochs, batch size, learning rate, ...
  selection=last|best|holdout     whose weights are scored: the last epoch's, the best one's on the dev set
                                  (optimistic), or on held-out training rows (holdout=0.1)
  trainer.KEY=VALUE               epochs updates batch_size accumulation learning_rate warmup weight_decay betas epsilon
                                  clip_norm max_length eval_batch_size device precision deterministic
                                  engine log_every snapshot_minutes
  init=mnli                       RTE, MRPC and STS-B start from the MNLI model of the same seed, which is run first
  results_dir=FOLDER              default: results
  save_model=true                 keep the weights under model/, loadable by transformers
"""

_EPILOGS = {
    "run": f"""{_KEYS}
examples:
  glue-bench run task=rte encoder=minilm data=sample
  glue-bench run task=mrpc seed=3 data=local data.path=my_glue encoder=minilm trainer.epochs=5
  glue-bench run task=rte encoder=custom encoder.hub_id=google-bert/bert-base-uncased
  glue-bench run -m task=rte,mrpc seed=1,2,3
  torchrun --nproc-per-node 4 -m glue_bench run task=mnli      one run on four GPUs
""",
    "sweep": f"""{_KEYS}
  tasks=[A,B] seeds=[1,2] encoders=[A,B]      task=A seed=1 encoder=A mean lists of one
  executor=local|serial|slurm     worker processes here, one after another in this process, or a Slurm job array;
  executor.KEY=VALUE              workers (runs at a time, or auto) runs_per_gpu timeout (minutes without progress)
  executor.slurm.KEY=VALUE        partition hours cpus gpus memory_gb notice options=[account=NAME]
  grid.KEY=[A,B]                  values of trainer.KEY to try, every combination; recipe=roberta_paper has a grid,
                                  and trainer.KEY=VALUE narrows it
  preset=card|sample|smoke        card: the model card's table; sample: offline in minutes; smoke: seconds

examples:
  glue-bench sweep preset=sample
  glue-bench sweep                                 the eight tasks, five seeds, distilroberta, data from the hub
  glue-bench sweep preset=card encoders=[distilroberta,roberta]
  glue-bench sweep recipe=roberta_paper encoder=roberta tasks=[rte]
  glue-bench sweep data=local data.path=my_glue encoder=minilm tasks=[cola,mrpc] seeds=[1,2,3]
  glue-bench sweep executor=slurm executor.workers=20 executor.slurm.partition=gpu
  glue-bench sweep --plan plan.jsonl               one run a line; then, in any job array, with N from 0:
  glue-bench sweep --plan plan.jsonl --index N
  glue-bench sweep tasks=[boolq] --config-dir my_conf data=local data.path=my_data

Stop it at any time: the same command runs only what is missing.
""",
    "report": """\
examples:
  glue-bench report
  glue-bench report --format markdown --out table.md
  glue-bench report --convention paper
  glue-bench report --format json results_dir=other_results
""",
    "claims": """\
keys:
  results_dir=FOLDER              whose finished runs the GLUE scores are checked with; default: results
  distilroberta.path=FOLDER       the model's own files, where the hub and its cache are out of reach
  roberta.path=FOLDER
  trainer.device=auto|cpu|cuda    what speed is measured on; also trainer.precision,
                                  trainer.engine=padded (transformers' own modules; default: without padding)

Without the models' files, parameters are counted from the stated architecture and speed is measured at random
weights; the rest is said not to be checkable. About two minutes on two cores; --quick seconds.

exit code: 1 if a claim is contradicted, 0 if none is; else as for every verb

examples:
  glue-bench claims
  glue-bench claims --quick --format markdown --out claims.md
  glue-bench claims distilroberta.path=my_models/distilroberta-base roberta.path=my_models/roberta-base
""",
    "tasks": """\
examples:
  glue-bench tasks
  glue-bench tasks --config-dir my_conf
""",
}

_TOP_EPILOG = """\
Offline, in minutes:   glue-bench sweep preset=sample
The real table:        glue-bench sweep          (needs the Hugging Face hub or its cache; a GPU helps)
More about a verb:     glue-bench VERB --help

exit codes: 0 all well; 1 some runs failed, or a claim is contradicted; 2 usage or configuration; 3 data or model
input; 4 diverged; 74 disk; 75 preempted (SIGUSR1), run the same command again; 130, 143 stopped by SIGINT, SIGTERM
"""


class _Parser(argparse.ArgumentParser):
    """Errors of one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"glue-bench: {message}\n")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the words after `glue-bench`; exits with 0 for help and 2 for a mistake."""
    parser = _Parser(
        prog="glue-bench",
        description="Fine-tune encoders on GLUE, and compare the scores with the published ones.",
        epilog=_TOP_EPILOG,
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
    arguments = parser.parse_args(_words_last(argv))
    if arguments.verb is None:
        parser.error(f"name a verb. Allowed: {', '.join(VERBS)}")
    return arguments


def _add_verb(verbs: "argparse._SubParsersAction[_Parser]", name: str, about: str) -> None:
    parser = verbs.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_EPILOGS[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    about_keys = {"report": "results_dir=FOLDER", "tasks": "none for this verb", "claims": "as below"}.get(
        name, "configuration, as below"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=about_keys)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    if name not in ("report", "claims"):
        parser.add_argument("--config-dir", type=Path, metavar="DIR", help="your own task/NAME.yaml, encoder/NAME.yaml")
    if name == "run":
        parser.add_argument("-m", "--multirun", action="store_true", help="comma-separated values make several runs")
    if name == "sweep":
        parser.add_argument("--dry-run", action="store_true", help="print what is missing, done, running, failed")
        parser.add_argument("--retry-failed", action="store_true", help="run again what failed or diverged")
        parser.add_argument("--plan", type=Path, metavar="FILE.jsonl", help="write the plan there, one run a line")
        parser.add_argument("--index", type=int, metavar="N", help="run line N (from 0) of --plan, and nothing else")
    if name == "report":
        from glue_bench.config import CONVENTIONS

        parser.add_argument("--format", default="console", choices=("console", "markdown", "json", "csv"))
        parser.add_argument("--convention", choices=CONVENTIONS, help="which scores the table's numbers are means of")
        parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")

    if name == "claims":
        parser.add_argument("--format", default="console", choices=("console", "markdown", "json", "csv"))
        parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")
        parser.add_argument("--quick", action="store_true", help="measure no speed")
        parser.add_argument("--repeats", type=int, default=8, metavar="N", help="pairs of a measured speed; default: 8")


def _words_last(argv: Sequence[str]) -> list[str]:
    """The verb, then options, then KEY=VALUE words: argparse takes positional words only in one piece."""
    taking_value = {"--config-dir", "--format", "--convention", "--out", "--plan", "--index", "--repeats"}
    options, words, pending = list[str](), list[str](), False
    for word in argv:
        if pending or word.startswith("-"):
            options.append(word)
            pending = not pending and word in taking_value
        else:
            words.append(word)
    return [*words[:1], *options, *words[1:]]
