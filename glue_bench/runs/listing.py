"""The runs of a results folder: chosen by KEY=VALUE words, listed, removed, as a pandas DataFrame. Knows no torch."""

import contextlib
import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from glue_bench.config.keys import fields_of, keys_of
from glue_bench.config.schema import TrainerConfig
from glue_bench.errors import DiskError, InputError, UsageError, did_you_mean
from glue_bench.files import disk_errors
from glue_bench.reading import whole_number
from glue_bench.runs.lease import Owner, owner_of, take_lease
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import USUAL_WAYS, Setting, override_value, show_value, show_words, sort_place, tell_apart
from glue_bench.runs.store import RunStore

if TYPE_CHECKING:
    import pandas as pd

_Run = TypeVar("_Run")
_PLURALS = {"tasks": "task", "encoders": "encoder", "seeds": "seed"}
_TRAINER = tuple(f"trainer.{name}" for name in keys_of(TrainerConfig, "scores", "rounding"))
_PLAIN = "task tasks encoder encoders data seed seeds status recipe init selection holdout precision setting_id run_id"
_DOTTED = "data.revision data.max_train_rows data.max_eval_rows data.sample encoder.hub_id encoder.revision"
KEYS = (*_PLAIN.split(), *USUAL_WAYS, *_DOTTED.split(), *_TRAINER)
HELP = """\
which runs (all by default; several words: runs that fit all of them):
  tasks=[A,B] encoders=[A,B] seeds=1-3    also task=NAME, encoder=NAME, seed=N
  data=hub|local|sample  status=finished|failed|diverged|interrupted
  recipe=NAME  init=mnli  selection=last  trainer.KEY=VALUE  data.max_train_rows=N  setting_id=ID  run_id=ID
  KEY=[A,B] is any of them, KEY!=VALUE all others: data!=sample leaves sample data out
"""
# Trainer values that are numbers: a column each, but for `epochs`, which a record counts.
_NUMBERS = [item.name for item in fields_of(TrainerConfig) if item.hint in (int, float, int | None, float | None)]
_NUMBERS.remove("epochs")
_MORE_NUMBERS = ["train_rows", "max_train_rows", "max_eval_rows", "holdout", "beta1", "beta2"]
_NAMES = (
    "encoder task split metric value rows seed status comparable not_comparable_because recipe recipe_changes "
    "init selection cell data fingerprint hub_id revision weights_sha256 parameters trained steps epochs tokens "
    "train_seconds eval_seconds device precision engine ended setting_id run_id folder setting"
)
_COLUMNS = [*_NAMES.split(), *_MORE_NUMBERS, *_NUMBERS]


@dataclass(frozen=True, slots=True)
class _Filter:
    word: str
    key: str
    values: Sequence[str]
    wanted: bool  # False for KEY!=VALUE

    def fits(self, facts: Mapping[str, Any]) -> bool:
        value = facts.get(self.key)
        return value != "" and any(is_written(value, text) for text in self.values) is self.wanted


class Filters(tuple[_Filter, ...]):
    """The runs that fit every filter."""

    __slots__ = ()

    @classmethod
    def read(cls, words: Iterable[str], *, others: Sequence[str] = ()) -> "Filters":
        """Read KEY=VALUE and KEY!=VALUE words; a UsageError, which also names the `others`, for anything else."""
        return cls(_read_word(word, others) for word in words)

    def fits(self, facts: Mapping[str, Any]) -> bool:
        """Check facts as `facts_of` returns them; an unknown fact, an empty text, fits no filter."""
        return all(each.fits(facts) for each in self)

    def choose_records(self, records: Iterable[Record], *, place: Path) -> list[Record]:
        """Return the records that fit, as `choose`."""
        return self.choose([(record, facts_of(record)) for record in records], place=place)

    def choose(self, every: Sequence[tuple[_Run, Mapping[str, Any]]], *, place: Path) -> list[_Run]:
        """Return the runs of the results folder `place` that fit; each is given with its facts (see `facts_of`).

        A UsageError if there are runs, and none fits; it lists the values that there are.
        """
        left = list(every)
        for number, each in enumerate(self if left else (), start=1):
            found = [(run, facts) for run, facts in left if each.fits(facts)]
            if not found:
                values = known_values([facts for _, facts in left], each.key)
                hint = did_you_mean(each.values[0], values) if values else f": none has {each.key}"
                words, all_of = " ".join(one.word for one in self[:number]), " all of these" if number > 1 else ""
                raise UsageError(f"{words}: no run in {place} fits{all_of}{hint}")
            left = found
        return [run for run, _ in left]


def facts_of(record: Record) -> dict[str, Any]:
    """Return everything by which a run can be chosen."""
    own = {"seed": record.seed, "status": record.status, "run_id": record.run_id, "setting_id": record.setting_id}
    return {**Setting.of(record).facts(), **own}


def known_values(every: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Return the values of one fact as words, sorted, numbers by size."""
    values = {show_value(facts[key]): facts[key] for facts in every if facts.get(key, "") != ""}
    return sorted(values, key=lambda text: sort_place({key: values[text]}))


def _read_word(word: str, others: Sequence[str]) -> _Filter:
    name, equals, text = word.partition("=")
    wanted, name = not name.endswith("!"), name.removesuffix("!")
    if name not in KEYS:
        hint = next((key for key in KEYS if key.rpartition(".")[2] == name), None)
        close = f"; did you mean {hint}={text}?" if hint else did_you_mean(name, [*KEYS, *others])
        raise UsageError(f"{word}: runs are not chosen by {name!r}{close}")
    if not equals or not text:
        raise UsageError(f"{word}: must be KEY=VALUE or KEY!=VALUE")
    key = _PLURALS.get(name, name)
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    values = [part.strip().strip("'\"") for part in inner.split(",")]
    seeds = list[str]()
    for value in values if key == "seed" else ():
        first, dash, last = value.partition("-")
        low, high = whole_number(first), whole_number(last if dash else first)
        if low is None or high is None or not low <= high < low + 1000:
            raise UsageError(f"{word}: must be whole numbers, as in seeds=1-3 or seeds=[1,5]")
        seeds += map(str, range(low, high + 1))
    values = [*(seeds or values), text]  # the whole text, too: a value may be a list
    return _Filter(word, key, [*dict.fromkeys(values)], wanted)


def is_written(value: Any, text: str) -> bool:
    """Check whether a text of the command line means this value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(text) == value
    return text in (value, override_value(value), show_value(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One folder of a run, in the order of the columns that `glue-bench runs` writes."""

    encoder: str
    task: str
    setting: str = ""  # how it differs from the other settings of its encoder and task, in words
    seed: int
    state: str  # running, the record's status, damaged (its record) or unfinished (it has none)
    score: float | None = None  # the task's times 100, to two decimals; None unless it finished
    bytes: int  # of its files
    setting_id: str  # empty without a record
    run_id: str
    folder: str


def list_runs(store: RunStore, filters: Filters) -> list[RunRow]:
    """Return a row for each run that fits, by encoder, task, setting and seed; a UsageError if none of them fits."""
    every = list[tuple[tuple[RunRow, Record | None], Mapping[str, Any]]]()
    for path in store.folders():
        encoder, task, run_id = path.parts[-3:]
        record = store.load(encoder, task, run_id)
        state = record.status if record else "damaged" if os.path.lexists(path / "record.json") else "unfinished"
        row = RunRow(
            encoder=encoder,
            task=task,
            seed=int(run_id.removeprefix("seed").partition("-")[0]),
            state="running" if owner_of(path) else state,
            score=round(100 * record.score, 2) if record and record.finished else None,
            bytes=sum(_sizes(path)),
            setting_id=record.setting_id if record else "",
            run_id=run_id,
            folder=str(path),
        )
        known = facts_of(record) if record else {**dict.fromkeys(KEYS, ""), **dataclasses.asdict(row)}
        every.append(((row, record), {**known, "run_id": run_id, "status": row.state}))
    found = filters.choose(every, place=store.root.parent)
    apart = {"": {}, **_tell_apart({record.setting_id: record for _, record in found if record})}
    rows = [dataclasses.replace(row, setting=show_words(apart[row.setting_id])) for row, _ in found]
    return sorted(rows, key=lambda row: (row.encoder, row.task, sort_place(apart[row.setting_id]), row.seed))


def _tell_apart(records: Mapping[Any, Record]) -> dict[Any, dict[str, Any]]:
    """Return, by key, what distinguishes the settings of each encoder and task; records come in that order."""
    found = dict[Any, dict[str, Any]]()
    for _, own in itertools.groupby(records, key=lambda key: records[key].place[:2]):
        keys = [*own]
        found |= zip(keys, tell_apart([Setting.of(records[key]) for key in keys]), strict=True)
    return found


def remove_run(store: RunStore, folder: Path) -> None:
    """Delete a run's folder and all that is in it; its record first, so that what is left never counts as a result.

    An InputError if a worker has the run, or a link leads to it: what it points to is not ours. A DiskError if it
    cannot be deleted.
    """
    for path in (store.root, folder.parents[1], folder.parent, folder):
        if path.is_symlink():
            raise InputError(f"{folder}: not removed: {path} is a link")
    lease = take_lease(folder)
    if isinstance(lease, Owner):
        raise InputError(f"{folder}: not removed: {lease.title} is running it")
    try:
        with disk_errors(folder, "cannot be removed"):
            (folder / "record.json").unlink(missing_ok=True)
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif not path.name.startswith("claim-"):
                    path.unlink()
    except DiskError:
        lease.release(done=False)
        raise
    lease.release(done=True)
    with contextlib.suppress(OSError):  # not empty, or in use
        for path in (folder, folder.parent, folder.parents[1]):
            path.rmdir()


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the size of every file below, links themselves."""
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118


def load_results(results_dir: str | Path = "results", *words: str, **filters: object) -> "pd.DataFrame":
    """Return one row per run, validation split and metric; a run without scores has one, with neither split nor metric.

    Columns: `encoder`, `task`, `split`, `metric`, `value` (natural units: 0 to 1, correlations -1 to 1), `rows` (of the
    split), `seed`, `status` (finished, failed, diverged, interrupted), `comparable` and `not_comparable_because`,
    `recipe`, `recipe_changes` (trainer values that are not the recipe's, as KEY=VALUE words), `init`, `selection`,
    `cell` (the run's values in a grid, as such words), `data` (hub, local or sample), `fingerprint`, `hub_id`,
    `revision` and `weights_sha256` of the encoder, `parameters` (head included), `trained` (of them), `steps`,
    `epochs`, `tokens`, `train_seconds`, `eval_seconds`, `device`, `precision`, `engine`, `ended` (UTC), `setting_id`
    (runs that share it differ in the seed alone), `run_id`, `folder` (with the predictions), `setting` (how the run's
    setting differs from the others of its encoder and task among these rows, as KEY=VALUE words; empty if there is
    one), `train_rows`, `max_train_rows`, `max_eval_rows`, `holdout`, and every trainer key that is a number:
    `learning_rate`, `batch_size`, `beta1`, `beta2`, ...; a missing number is NaN.

    Args:
        words: only runs that fit all of these, as in `glue-bench report`: "trainer.epochs=3", "data!=sample".
        filters: the same for keys without a dot: `tasks=["rte"]`, `encoder="minilm"`, `seeds=[1, 2]`, `data="hub"`.

    Errors are those of `glue_bench.load_results`.
    """
    import pandas as pd  # imported late: it takes half a second

    place = Path(results_dir)
    if not place.is_dir():
        raise InputError(f"{results_dir}: no such folder of results")
    store, rows = RunStore(place), list[dict[str, Any]]()
    chosen = Filters.read([*words, *(f"{key}={override_value(value)}" for key, value in filters.items())])
    records = chosen.choose_records(store.load_all(), place=place)
    apart = _tell_apart({(run.setting_id, *run.ways): run for run in records if run.finished})
    for run in records:
        setting = show_words(apart.get((run.setting_id, *run.ways), {}))
        rows += [{**row, "setting": setting} for row in _rows(run, store)]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["ended"] = pd.to_datetime(frame["ended"], utc=True, errors="coerce", format="ISO8601")
    numbers = [*_NUMBERS, *_MORE_NUMBERS]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    return frame


def _rows(record: Record, store: RunStore) -> list[dict[str, Any]]:
    encoder, data, config, task = record.encoder, record.data, record.config, task_of(record)
    rows, scores = data.get("rows", {}), record.scores
    facts: dict[str, Any] = {name: getattr(record, name) for name in _COLUMNS if hasattr(record, name)}
    facts |= {name: encoder.get(name) for name in ("hub_id", "revision", "weights_sha256", "parameters", "trained")}
    for name in ("recipe_changes", "cell"):
        facts[name] = " ".join(f"{key}={value}" for key, value in (config.get(name) or {}).items())
    facts |= {f"{name}_seconds": record.seconds.get(name) for name in ("train", "eval")}
    facts |= {name: config["trainer"].get(name) for name in _NUMBERS}
    facts |= dict(zip(("beta1", "beta2"), config["trainer"].get("betas", ()), strict=False))
    facts |= {name: config["data"].get(name) for name in ("max_train_rows", "max_eval_rows")}
    facts |= {
        "encoder": encoder["name"],
        "data": data["source"],
        "fingerprint": data.get("fingerprint"),
        "train_rows": rows.get(task.train),
        "holdout": config.get("holdout") if record.selection == "holdout" else None,
        "not_comparable_because": "; ".join(record.not_comparable_because),
        "ended": record.ended or None,
        "folder": str(store.folder(*record.place)),
    }
    if not record.finished:
        return [{**dict.fromkeys(_COLUMNS), **facts}]
    return [
        {**facts, "split": split, "metric": metric, "value": scores[split][metric], "rows": rows[split]}
        for split, metric in itertools.product(task.validation, task.metrics)
    ]
