"""`glue-bench submit`: the GLUE leaderboard's zip: submit build, submit check FILE.zip.

actions:
  build KEY=VALUE ...             predict the test rows with finished runs that kept their weights, and write the zip
  check FILE.zip                  list every fault with file and line; exit code 3 if there is one

keys of build:
  encoder=NAME                    the runs' encoder; needed only where several have finished
  seed=N                          this seed for every task; without it --pick chooses one of the seeds
  recipe=NAME init=TASK selection=NAME trainer.KEY=VALUE
                                  where a task was run in several settings; or run_id=[ID,ID], one per task
  data=local data.path=FOLDER     where the test rows are; without it where each run's own rows came from
  trainer.device=NAME             auto cpu cuda cuda:N mps
  results_dir=FOLDER              default: results

examples:
  glue-bench submit build encoder=distilroberta
  glue-bench submit build encoder=distilroberta seed=1 --fill wnli --out submission.zip
  glue-bench submit build --fill wnli=not_entailment data=local data.path=my_glue
  glue-bench submit check submission.zip
"""

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from glue_bench.cli.shared import add_options, path_option, read_words, say, write_file
from glue_bench.config import group_options
from glue_bench.errors import InputError, UsageError, did_you_mean
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.listing import KEYS
from glue_bench.runs.store import RunStore
from glue_bench.submission import PICKS, Choice, choose_runs, predict_files, prepare_sources
from glue_bench.submission.layout import LeaderboardFile, check_submission, lay_out, pack_zip, parse_fills, write_rows
from glue_bench.text import plural, visible

_CHOOSE = ("encoder", "seed", "run_id", "recipe", "init", "selection")
_TRAINER = tuple(key for key in KEYS if key.startswith("trainer."))  # runs of one recipe may differ in these
_COMPOSED = ("data", "data.path", "data.dataset", "data.revision", "trainer.device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "build KEY=VALUE ..., or check FILE.zip", metavar="ACTION", config_dir=True)
    about = "default: RESULTS_DIR/submission-ENCODER.zip"
    parser.add_argument("--out", type=path_option, metavar="FILE.zip", help=about)
    parser.add_argument("--pick", choices=PICKS, help="which of several seeds, by dev score; default: median")
    about = "one constant prediction instead of a run: the class with code 0, or the one given"
    parser.add_argument("--fill", action="append", default=[], metavar="TASK[=PREDICTION]", help=about)


def execute(arguments: argparse.Namespace) -> int:
    """Do what the first word says with the rest."""
    from glue_bench.config.compose import compose_task

    actions = {"build": _build, "check": _check}
    if not arguments.overrides:
        raise UsageError(f"submit: name an action. Allowed: {', '.join(actions)}")
    action, *words = arguments.overrides
    if action not in actions:
        raise UsageError(f"submit {action}: no such action{did_you_mean(action, actions)}")
    config_dir = arguments.config_dir
    tasks = [compose_task(name, config_dir=config_dir) for name in group_options("task", config_dir)]
    return actions[action](words, lay_out(tasks), arguments=arguments)


def _check(words: list[str], files: Sequence[LeaderboardFile], *, arguments: argparse.Namespace) -> int:
    if given := [option for option in ("out", "fill", "pick") if getattr(arguments, option)]:
        raise UsageError(f"--{given[0]}: only for `submit build`, not for `submit check`")
    if len(words) != 1:
        found = f", not {' and '.join(words)}" if words else ""
        raise UsageError(f"submit check: name one file, as in `glue-bench submit check FILE.zip`{found}")
    path = Path(words[0])
    if faults := check_submission(path, files):
        sys.stdout.writelines(f"{fault}\n" for fault in faults)
        raise InputError(f"{path}: the leaderboard would refuse it; {plural(len(faults), 'fault')}, listed above")
    rows = sum(file.rows for file in files)
    sys.stdout.write(f"{visible(str(path))}: as the leaderboard wants it: {len(files)} files, {rows:,} predictions\n")
    return 0


def _build(words: list[str], files: Sequence[LeaderboardFile], *, arguments: argparse.Namespace) -> int:
    folder, others = arguments.config_dir, (*_CHOOSE, *_TRAINER)
    given, config, store = read_words(words, "submit build", keys=_COMPOSED, others=others, config_dir=folder)
    if "seed" in given and arguments.pick:
        raise UsageError(f"seed={given['seed']} and --pick {arguments.pick}: give one of the two")
    fills = parse_fills(arguments.fill, files)
    wanted = sorted({file.task.name for file in files} - fills.keys())
    encoder, choices = "constant", dict[str, Choice]()
    if wanted:
        filters = {key: value for key, value in given.items() if key in others}
        encoder, choices = choose_runs(store, wanted, pick=arguments.pick or "median", **filters)
    data = config.data if any(key.startswith("data") for key in given) else None
    sources, problems = prepare_sources(files, choices=choices, data=data)
    for problem in problems:
        say(problem)
    if runless := sorted({*wanted} - {*choices}):
        _suggest_training(runless, encoder, store=store)
    if runless or problems:
        raise InputError("submit build: the leaderboard takes all files or none; see above")
    out = arguments.out or store.root.parent / f"submission-{encoder}.zip"
    contents = predict_files(sources, device=config.trainer.device, on_progress=say)
    origins = dict[str, str]()
    for source in sources:
        (run, why), kept = choices[source.file.task.name], "kept" if source.kept is not None else "predicted now"
        origins[source.file.name] = f"{run.title}, {why}: {100 * run.record.score:.1f}; {kept}"
    for file in files:
        if fill := fills.get(file.task.name):
            contents[file.name] = write_rows(file, [fill] * file.rows)
            origins[file.name] = f"no model: {fill} in every line, because of --fill"
    content = pack_zip(contents)
    write_file(content, out, chosen=arguments.out is not None)
    sys.stdout.writelines(f"{file.name:<12} {file.rows:>8,} rows  {origins[file.name]}\n" for file in files)
    for run, _ in choices.values():
        for reason in run.record.not_comparable_because:
            say(f"{run.title}: {reason}")
    rows, digest = sum(file.rows for file in files), hashlib.sha256(content).hexdigest()
    sys.stdout.write(f"{visible(str(out))}: {len(files)} files, {rows:,} predictions, SHA-256 {digest}\n")
    return 0


def _suggest_training(tasks: Sequence[str], encoder: str, *, store: RunStore) -> None:
    """Suggest a sweep of these tasks, with the seeds of the encoder's other runs and all words that these share."""
    finished = [record for record in store.load_all() if record.finished and record.data["source"] != "sample"]
    ours = [record for record in finished if record.encoder["name"] == encoder]
    seeds = ",".join(str(seed) for seed in sorted({record.seed for record in ours}))
    every = [repeating_words(record, private=True) for record in ours]
    own = ("task", "seed", "results_dir")
    shared = [word for word in every[0] if word.partition("=")[0] not in own and all(word in words for words in every)]
    lists = [f"tasks=[{','.join(tasks)}]", f"seeds=[{seeds}]"]
    command = ["glue-bench", "sweep", *lists, *shared, f"results_dir={store.root.parent}", "save_model=true"]
    say(f"no finished run of {encoder} for {', '.join(tasks)}; train:")
    say(f"    {shlex.join(command)}")
    say(f"  or use one constant prediction for each: {' '.join(f'--fill {task}' for task in tasks)}")
