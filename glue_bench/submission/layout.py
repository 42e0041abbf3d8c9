"""The files of the leaderboard's zip, and what predicts each: a finished run, chosen by one rule, or one constant."""

import io
import math
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import TaskConfig
from glue_bench.config.task import headline
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.runs.filters import Filters, facts_of
from glue_bench.runs.finished import FinishedRun
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting, override_word
from glue_bench.runs.store import RunStore

HEADER = "index\tprediction"
DECIMALS = 3  # of a score
PICKS = ("median", "best")
_LISTED = 6
# Bytes of a line, its end included: a generous bound on what is unpacked of an untrusted zip.
_LONGEST_LINE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardFile:
    """One file of the zip: a header, and a line for each test row in the order of the rows."""

    name: str  # with .tsv
    task: str  # its model predicts the rows
    place: str  # SPLIT, or FOLDER/SPLIT of the data set
    rows: int
    labels: tuple[str, ...] = ()  # the classes in the order of the codes; empty for scores
    words: tuple[str, ...] = ()  # the predictions as they are written, codes or names, in the same order
    score_range: tuple[float, float] | None = None  # lowest and highest score; None for classes

    @property
    def allowed(self) -> str:
        """The allowed predictions, for a message."""
        if self.score_range is not None:
            low, high = self.score_range
            return f"a number from {low:g} to {high:g}"
        if self.words == self.labels:
            return ", ".join(self.labels)
        return " or ".join(f"{code} ({label})" for code, label in zip(self.words, self.labels, strict=True))

    @property
    def most_bytes(self) -> int:
        """The largest file that is read."""
        return _LONGEST_LINE * (self.rows + 100)


def lay_out(tasks: Sequence[TaskConfig]) -> tuple[LeaderboardFile, ...]:
    """List every file that these tasks name, sorted by name."""
    files = [
        LeaderboardFile(
            name=f"{name}.tsv",
            task=task.name,
            place=place,
            rows=task.rows[place],
            labels=tuple(task.labels),
            words=tuple(map(str, range(len(task.labels))) if task.leaderboard_labels == "codes" else task.labels),
            score_range=(task.label_range[0], task.label_range[1]) if task.label_range else None,
        )
        for task in tasks
        for name, place in task.leaderboard.items()
    ]
    return tuple(sorted(files, key=lambda file: file.name))


def parse_fills(words: Sequence[str], files: Sequence[LeaderboardFile]) -> dict[str, str]:
    """Parse TASK or TASK=PREDICTION words: a class name or a score by task.

    PREDICTION is a class by its name or code, or a score. Without it, it is the class with the code 0, or the middle of
    the range. A UsageError if the task or its prediction is unknown.
    """
    by_task, fills = {file.task: file for file in files}, dict[str, str]()
    for word in words:
        task, equals, value = word.partition("=")
        if task not in by_task:
            raise UsageError(f"--fill {word}: unknown task{did_you_mean(task, by_task)}")
        if task in fills:
            raise UsageError(f"--fill {word}: {task} has a --fill already")
        file = by_task[task]
        if file.score_range is not None:
            score = _to_number(value) if equals else sum(file.score_range) / 2
            if not file.score_range[0] <= score <= file.score_range[1]:
                raise UsageError(f"--fill {word}: must be {file.allowed}")
            fills[task] = f"{score:.{DECIMALS}f}"
        else:
            by_code = {str(code): label for code, label in enumerate(file.labels)}
            fills[task] = by_code.get(value, value) if equals else file.labels[0]
            if fills[task] not in file.labels:
                raise UsageError(f"--fill {word}: unknown class{did_you_mean(value, file.labels)}")
    return fills


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which runs may be chosen."""

    encoder: str | None = None  # by name; None if there is only one
    seed: int | None = None
    pick: str = "median"  # one of PICKS: which of several seeds, by the dev set
    run_ids: Sequence[str] = ()  # each for its task, before any rule
    settings: Mapping[str, str] = field(default_factory=dict)  # recipe, init, selection, trainer.KEY

    def fits(self, record: Record) -> bool:
        """Check whether a run has the seed and the settings."""
        wanted = dict(self.settings)
        if wanted.get("init", record.init_kind) not in (*task_of(record).init_from, record.init_kind):
            wanted["init"] = "pretrained"  # as in a sweep: of tasks that do not start from another
        filters = Filters.read(f"{key}={value}" for key, value in wanted.items())
        return self.seed in (None, record.seed) and filters.fits(facts_of(record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The run that predicts a task, and how it was chosen."""

    run: FinishedRun
    why: str
    score: float  # on the dev set: the mean of the task's metrics there, in natural units


def choose_runs(store: RunStore, tasks: Sequence[str], *, wish: Wish) -> tuple[str, dict[str, Choice]]:
    """Choose the encoder, and a run for each of the tasks that has one. Runs on sample data never count.

    Of several seeds of one setting, the one with the median dev score is chosen (of an even number the lower of the
    two), or the best. A UsageError for no run at all, or several encoders or settings; it says how to choose.
    """
    finished = [record for record in store.load_all() if record.finished]
    usable = [record for record in finished if record.task in tasks and record.data["source"] != "sample"]
    names = sorted({str(record.encoder["name"]) for record in usable})
    if not usable:
        only = " except on sample data" if any(record.data["source"] == "sample" for record in finished) else ""
        advice = "`glue-bench sweep save_model=true` makes them"
        raise UsageError(f"results_dir={store.root.parent}: no finished run there{only}; {advice}")
    if wish.encoder is None and len(names) > 1:
        raise UsageError(f"encoder: several have finished runs; add {' or '.join(f'encoder={name}' for name in names)}")
    encoder = wish.encoder or names[0]
    if encoder not in names:
        raise UsageError(f"encoder={encoder}: no finished run{did_you_mean(encoder, names)}")
    ours = [record for record in usable if record.encoder["name"] == encoder]
    if unknown := set(wish.run_ids) - {record.run_id for record in ours}:
        raise UsageError(f"run_id={min(unknown)}: no such finished run of {encoder} on these tasks")
    chosen = {}
    for task in tasks:
        found = [record for record in ours if record.task == task]
        named = [record for record in found if record.run_id in wish.run_ids]
        if len(named) > 1:
            raise UsageError(f"run_id={','.join(record.run_id for record in named)}: must be one run for {task}")
        fitting = [record for record in found if wish.fits(record)]
        if named or fitting:
            record, why = (named[0], "named") if named else _choose_seed(fitting, wish)
            run = FinishedRun(record=record, folder=store.folder(*record.place))
            chosen[task] = Choice(run=run, why=why, score=_dev_score(record))
    return encoder, chosen


def _choose_seed(records: Sequence[Record], wish: Wish) -> tuple[Record, str]:
    settings = list({record.setting_id: record for record in records}.values())
    if len(settings) > 1:
        raise UsageError(_compare_settings(settings))
    if len(records) == 1:
        return records[0], "the only seed" if wish.seed is None else f"seed={wish.seed}"
    ranked = sorted(records, key=lambda record: (_dev_score(record), record.seed))
    place = len(ranked) - 1 if wish.pick == "best" else (len(ranked) - 1) // 2
    return ranked[place], f"{wish.pick} of {len(ranked)} seeds on the dev set"


def _compare_settings(records: Sequence[Record]) -> str:
    start = f"task={records[0].task}: finished runs of {len(records)} settings; add "
    first, *others = (Setting.of(record) for record in records)
    for key, values in first.difference(*others).items():
        distinct = sorted({shlex.quote(override_word(key, value)) for value in values})
        if len(distinct) == len(records) and (key in ("recipe", "init", "selection") or key.startswith("trainer.")):
            return start + " or ".join(distinct[:_LISTED])
    runs = [f"{record.run_id} (recipe {record.recipe} on {record.data['source']})" for record in records]
    return f"{start}run_id=[...] with one of {', '.join(runs[:_LISTED])}"


def _dev_score(record: Record) -> float:
    return headline(task_of(record).parts("card"), record.scores)


def _to_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write_rows(file: LeaderboardFile, predictions: Sequence[str] | NDArray[Any]) -> bytes:
    """Format a file of classes, or of scores, which are clipped to their range and rounded.

    `predictions` are (rows,) class names or scores in the order of the test rows. A ValueError for another number of
    rows, a name that the file does not allow, or a score that is not finite.
    """
    if file.score_range is None:
        word_of = dict(zip(file.labels, file.words, strict=True))
        if unknown := set(predictions) - word_of.keys():
            raise ValueError(f"{file.name}: {min(unknown)!r} is not one of {', '.join(file.labels)}")
        words = [word_of[name] for name in predictions]
    else:
        scores = np.asarray(predictions, dtype=np.float64)
        if not np.isfinite(scores).all():
            raise ValueError(f"{file.name}: finite scores are needed")
        clipped = np.clip(scores, *file.score_range) + 0.0  # without a negative zero
        words = [f"{score:.{DECIMALS}f}" for score in clipped]
    if len(words) != file.rows:
        raise ValueError(f"{file.name}: {len(words)} predictions for {file.rows} rows")
    lines = (f"{index}\t{word}\n" for index, word in enumerate(words))
    return f"{HEADER}\n{''.join(lines)}".encode("ascii")


def pack_zip(contents: Mapping[str, bytes]) -> bytes:
    """Pack the files in the order of their names, with a fixed date and not compressed.

    Compressed bytes would depend on the version of zlib; four megabytes need no compression.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16  # a regular file of Unix
            archive.writestr(info, contents[name])
    return stream.getvalue()
