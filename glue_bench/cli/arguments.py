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
    "report": "the tables again, from what is on disk",
    "compare": "two encoders, paired by seed and by dev row",
    "predict": "a finished run on your own texts: labels and probabilities",
    "card": "a finished run as a model to share: weights, tokenizer and a model card",
    "submit": "the GLUE leaderboard's zip: submit build, submit check FILE.zip",
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

_CHOICE = """\
keys (exactly one finished run that kept its weights, by save_model=true, must answer to them):
  task=NAME encoder=NAME seed=N   as many as it takes
  run_id=ID                       of the folder, or the folder itself
  results_dir=FOLDER              default: results
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
  glue-bench report --format html                 one page with plots: results/report.html
  glue-bench report --convention paper
  glue-bench report --format json --out report.json results_dir=other_results
  glue-bench report --format latex --out table.tex
  glue-bench report --check report.json      exit code 1 if a score fell significantly, or a row is gone
""",
    "compare": """\
examples:
  glue-bench compare distilroberta roberta
  glue-bench compare minilm-3 minilm --convention paper --format markdown
""",
    "predict": f"""{_CHOICE}
  trainer.device=DEVICE           auto cpu cuda cuda:N mps

examples:
  glue-bench predict task=sst2 --text "A fine film."
  glue-bench predict task=rte seed=1 --text "A man sleeps." --text "A man is awake."
  glue-bench predict run_id=seed1-0123456789ab --file my.csv --out answers.csv
  cut -f 2,3 pairs.tsv | glue-bench predict task=mrpc encoder=distilroberta > answers.jsonl
""",
    "card": f"""{_CHOICE}
examples:
  glue-bench card task=rte seed=1
  glue-bench card run_id=seed1-0123456789ab --out my_model
  glue-bench card task=rte seed=1 --push my-org/distilroberta-rte

Nothing leaves this machine without --push. A folder or repository with anything else in it is never overwritten.
""",
    "submit": """\
actions:
  build KEY=VALUE ...             predict the test rows with finished runs that kept their weights, and write the zip
  check FILE.zip                  list every fault with file and line; exit code 3 if there is one

keys of build:
  encoder=NAME                    whose runs; needed only where several have finished
  seed=N                          this seed for every task; without it --pick says which of the seeds
  recipe=NAME init=TASK selection=NAME trainer.KEY=VALUE
                                  where a task was run in several settings; or run_id=[ID,ID], each for its task
  data=local data.path=FOLDER     where the test rows are; without it where each run's own rows came from
  trainer.device=NAME             auto cpu cuda cuda:N mps
  results_dir=FOLDER              default: results

examples:
  glue-bench submit build encoder=distilroberta
  glue-bench submit build encoder=distilroberta seed=1 --fill wnli --out submission.zip
  glue-bench submit build --fill wnli=not_entailment data=local data.path=my_glue
  glue-bench submit check submission.zip
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

exit codes: 0 all well; 1 some runs failed; 2 usage or configuration; 3 data or model input; 4 diverged; 74 disk;
75 preempted (SIGUSR1), run the same command again; 130, 143 stopped by SIGINT, SIGTERM
"""

_TAKING_VALUE = (
    *("--config-dir", "--format", "--convention", "--out", "--plan", "--index", "--check"),
    *("--text", "--file", "--push", "--fill", "--pick"),
)


_READING = ("report", "compare")  # the verbs that print what is on disk
_WORDS = {
    "report": ("KEY=VALUE", "results_dir=FOLDER"),
    "compare": ("WORD", "two encoders, as the table names them; results_dir=FOLDER"),
    "predict": ("KEY=VALUE", "which run, as below"),
    "card": ("KEY=VALUE", "which run, as below"),
    "submit": ("ACTION", "build KEY=VALUE ..., or check FILE.zip"),
    "tasks": ("KEY=VALUE", "none for this verb"),
}


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
    metavar, about_keys = _WORDS.get(name, ("KEY=VALUE", "configuration, as below"))
    parser.add_argument("overrides", nargs="*", metavar=metavar, help=about_keys)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    if name in ("run", "sweep", "tasks", "submit"):
        parser.add_argument("--config-dir", type=Path, metavar="DIR", help="your own task/NAME.yaml, encoder/NAME.yaml")
    if name == "run":
        parser.add_argument("-m", "--multirun", action="store_true", help="comma-separated values make several runs")
    if name == "sweep":
        parser.add_argument("--dry-run", action="store_true", help="print what is missing, done, running, failed")
        parser.add_argument("--retry-failed", action="store_true", help="run again what failed or diverged")
        parser.add_argument("--plan", type=Path, metavar="FILE.jsonl", help="write the plan there, one run a line")
        parser.add_argument("--index", type=int, metavar="N", help="run line N (from 0) of --plan, and nothing else")
    if name == "submit":
        parser.add_argument("--out", type=Path, metavar="FILE.zip", help="default: RESULTS_DIR/submission-ENCODER.zip")
        parser.add_argument(
            "--pick", choices=("median", "best"), help="of several seeds, by dev score; default: median"
        )
        parser.add_argument(
            "--fill",
            action="append",
            default=[],
            metavar="TASK[=PREDICTION]",
            help="one constant prediction in place of a run: the class with the code 0, or the one given",
        )
    if name in _READING:
        from glue_bench.config import CONVENTIONS

        formats = ("console", "markdown", "latex", "json", "csv", *(("html",) if name == "report" else ()))
        parser.add_argument("--format", default="console", choices=formats)
        parser.add_argument("--convention", choices=CONVENTIONS, help="which scores the table's numbers are means of")
        parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")
    if name == "report":
        parser.add_argument("--check", type=Path, metavar="FILE.json", help="fail if a score fell since that report")
    if name == "predict":
        parser.add_argument("--text", action="append", metavar="TEXT", help="one row; once for each text of a pair")
        parser.add_argument(
            "--file", type=Path, metavar="FILE", help=".csv .tsv .jsonl .parquet with the task's columns"
        )
        parser.add_argument("--format", choices=("jsonl", "csv"), help="default: a table for one text, else jsonl")
        parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of the terminal")
    if name == "card":
        parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: a folder under RESULTS_DIR/cards")
        parser.add_argument("--push", metavar="ORG/NAME", help="also upload it to a new, private repository on the hub")


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
