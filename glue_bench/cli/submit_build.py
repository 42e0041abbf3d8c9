"""`glue-bench submit build`: the leaderboard's zip from finished runs."""

import argparse
import dataclasses
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from glue_bench.cli.output import say
from glue_bench.cli.results import read_seed, read_words, results_folder
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import EXECUTION_KEYS, RunConfig, TaskConfig, TrainerConfig
from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.submission import (
    Filled,
    FromRun,
    LeaderboardFile,
    Predicted,
    Progress,
    Source,
    Wish,
    build_submission,
    choose_runs,
    lay_out,
    parse_fills,
    prepare_sources,
)
from glue_bench.sweep.board import format_clock

_SETTINGS = ("recipe", "init", "selection")
_COMPOSED = ("results_dir", "data", "data.path", "data.dataset", "data.revision", "trainer.device")
_LINE_EVERY = 20.0  # seconds between two lines of progress


def execute(words: Sequence[str], tasks: Mapping[str, TaskConfig], arguments: argparse.Namespace) -> int:
    """Predict what is missing, write the zip, and say what is in it."""
    wish, config, given = _read_words(words, next(iter(tasks)), arguments)
    results_dir = results_folder(config, given)
    files = lay_out(list(tasks.values()))
    fills = parse_fills(arguments.fill, files)
    store = RunStore(results_dir)
    wanted = [name for name in tasks if name not in fills]
    encoder, choices = choose_runs(store, wanted, wish=wish) if wanted else ("constant", {})
    data_given = any(key.startswith("data") for key in given)
    ready = prepare_sources(files, tasks, choices=choices, fills=fills, data=config.data if data_given else None)
    if ready.runless or ready.problems:
        _tell_what_lacks(ready.runless, ready.problems, encoder, store)
        raise InputError("submit build: the leaderboard takes all files or none; see above")
    out = arguments.out or results_dir / f"submission-{encoder}.zip"
    build_submission(ready.sources, out, device=config.trainer.device, progress=_Lines())
    for source in sorted(ready.sources, key=lambda source: source.file.name):
        sys.stdout.write(f"{source.file.name:<12} {source.file.rows:>8,} rows  {_origin(source)}\n")
    _remark(ready.sources)
    rows = sum(file.rows for file in files)
    sys.stdout.write(f"{out}: {len(files)} files, {rows:,} predictions, SHA-256 {file_sha256(out)}\n")
    return 0


def _read_words(
    words: Sequence[str], any_task: str, arguments: argparse.Namespace
) -> tuple[Wish, RunConfig, Mapping[str, str]]:
    """Which runs are meant, where test rows and results are, and the words by key."""
    trainer = {f"trainer.{item.name}" for item in dataclasses.fields(TrainerConfig)}
    trainer -= {f"trainer.{key}" for key in EXECUTION_KEYS}
    known = ["encoder", "seed", "run_id", *_SETTINGS, *_COMPOSED]
    given = read_words(words, [*known, *trainer], verb="submit build", listed=known)
    composed = [f"{key}={value}" for key, value in given.items() if key in _COMPOSED]
    config = compose_run([f"task={any_task}", *composed], config_dir=arguments.config_dir)
    seed = read_seed(given)
    if seed is not None and arguments.pick:
        raise UsageError(f"seed={seed} and --pick {arguments.pick}: give one of the two")
    wish = Wish(
        encoder=given.get("encoder"),
        seed=seed,
        pick=arguments.pick or "median",
        run_ids=[run_id.strip() for run_id in given.get("run_id", "").strip("[]").split(",") if run_id.strip()],
        settings={key: value for key, value in given.items() if key in _SETTINGS or key in trainer},
    )
    return wish, config, given


def _tell_what_lacks(runless: Sequence[str], problems: Sequence[str], encoder: str, store: RunStore) -> None:
    """Everything that stands between the runs and a zip, and the commands that help."""
    for problem in problems:
        say(problem)
    if runless:
        say(f"no finished run of {encoder} for {', '.join(runless)}; train:")
        say(f"    {shlex.join(_training_words(runless, encoder, store.load_all(), store))}")
        fills = " ".join(f"--fill {task}" for task in runless)
        say(f"  or hand in one constant prediction for each: {fills}")


def _training_words(tasks: Sequence[str], encoder: str, records: Iterable[Record], store: RunStore) -> list[str]:
    """A sweep of these tasks with the seeds of the encoder's other runs, and with whatever all of those had."""
    ours = [
        record
        for record in records
        if record.encoder["name"] == encoder and record.status == "finished" and record.data["source"] != "sample"
    ]
    seeds = sorted({record.seed for record in ours})
    every = [repeating_words(record, private=True) for record in ours]
    own = ("task", "seed", "results_dir")
    shared = [word for word in every[0] if word.partition("=")[0] not in own and all(word in words for words in every)]
    lists = [f"tasks=[{','.join(tasks)}]", f"seeds=[{','.join(str(seed) for seed in seeds)}]"]
    return ["glue-bench", "sweep", *lists, *shared, f"results_dir={store.root.parent}", "save_model=true"]


def _origin(source: Source) -> str:
    if isinstance(source, Filled):
        return f"no model: {source.fill} in every line, as --fill asked"
    run = source.choice.run
    kept = "kept" if source.kept is not None else "predicted now"
    return f"{run.title}, {source.choice.why}: {100 * source.choice.score:.1f}; {kept}"


def _remark(sources: Sequence[Source]) -> None:
    """What a reader of the leaderboard should be told about runs that are no plain fine-tunes on the whole task."""
    runs = {source.choice.run.record.run_id: source.choice.run for source in sources if isinstance(source, FromRun)}
    for run in runs.values():
        for reason in run.record.not_comparable_because:
            say(f"{run.title}: {reason}")


class _Lines(Progress):
    """A line when a file begins, one now and then, and one at its end."""

    def __init__(self) -> None:
        self._began = self._told = 0.0

    def begin(self, source: FromRun) -> None:
        self._began = self._told = time.monotonic()
        say(f"{_rows(source.file)}: predicting with {source.choice.run.title}")

    def advance(self, source: FromRun, rows: int) -> None:
        now = time.monotonic()
        if now - self._told < _LINE_EVERY or rows == source.file.rows:
            return
        self._told = now
        left = (now - self._began) / rows * (source.file.rows - rows)
        say(f"{_rows(source.file)}: {rows:,} done, about {format_clock(left)} left")

    def end(self, source: FromRun, predicted: Predicted) -> None:
        speed = f", {predicted.fresh / predicted.seconds:,.0f} a second" if predicted.fresh else ""
        before = source.file.rows - predicted.fresh
        kept = f" ({before:,} were done before)" if before else ""
        say(f"{_rows(source.file)}: done in {format_clock(predicted.seconds)}{speed}{kept}")


def _rows(file: LeaderboardFile) -> str:
    return f"{file.name}, {file.rows:,} rows"
