"""A finished run, chosen among those on disk, and the proof that the weights beside it are its own. Knows no torch.

Exactly one run must answer to what was asked: nothing is chosen by chance, by date or by score.
"""

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.errors import InputError, UsageError, did_you_mean
from glue_bench.files import file_sha256
from glue_bench.runs.record import Record, read_record, task_of
from glue_bench.runs.repetition import repeating_words
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import TaskAdapter

_LISTED = 8  # runs that an error names
_LISTED_IDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A record whose status is finished, and the folder that holds what the run left behind."""

    record: Record
    folder: Path

    @property
    def model_folder(self) -> Path:
        """Where its weights are, if it kept them."""
        return self.folder / "model"

    @property
    def task(self) -> TaskAdapter:
        """The task as the run used it."""
        return task_of(self.record)

    @property
    def title(self) -> str:
        """As remarks name it."""
        return f"{self.record.encoder['name']} {self.record.task} seed {self.record.seed} ({self.record.run_id})"


def find_finished(
    store: RunStore,
    *,
    encoder: str | None = None,
    task: str | None = None,
    seed: int | None = None,
    run_id: str | None = None,
    need_model: bool = False,
) -> FinishedRun:
    """The one finished run that has all the properties given.

    Args:
        run_id: an id, or a run's folder, wherever it lies.
        need_model: only runs that kept their weights count, as long as there is one.

    Raises:
        UsageError: none or several answer; the line lists what is there.
        InputError: none of them kept its weights, or the folder holds no record that can be read.
    """
    wanted = {"encoder": encoder, "task": task, "seed": seed, "run_id": run_id}
    asked = " ".join(f"{key}={value}" for key, value in wanted.items() if value is not None)
    if run_id is not None and (Path(run_id) / "record.json").exists():
        run = open_run_folder(Path(run_id), need_model=need_model)
        if not _answers(run.record, {**wanted, "run_id": None}):
            raise UsageError(f"{asked}: that folder holds {run.title}")
        return run
    every = list(store.load_all())
    here = [_run(record, store) for record in every if record.status == "finished"]
    found = [run for run in here if _answers(run.record, wanted)]
    if not found:
        raise UsageError(_tell_absent(wanted, asked, every, here, store))
    if need_model:
        kept = [run for run in found if store.has_model(run.record)]
        if not kept:
            raise InputError(_tell_unkept(found, asked))
        found = kept
    if len(found) > 1:
        raise UsageError(_tell_several(found, asked, store))
    return found[0]


def open_run_folder(folder: Path, *, need_model: bool = False) -> FinishedRun:
    """The run of one folder, wherever it lies.

    Raises:
        UsageError: the run did not finish.
        InputError: its record cannot be read, or it kept no weights although they are needed.
    """
    record = read_record(folder / "record.json")
    if record is None:
        raise InputError(f"{folder}: holds no record.json that can be read")
    if record.status != "finished":
        raise UsageError(f"{folder}: this run is {record.status}; only finished runs have results")
    run = FinishedRun(record=record, folder=folder)
    if need_model and not (run.model_folder / "model.safetensors").is_file():
        raise InputError(_tell_unkept([run], str(folder)))
    return run


def check_weights(run: FinishedRun) -> Path:
    """The folder of the run's weights, once their SHA-256 is the one in its record.

    Raises:
        InputError: there are none, they are others, or the record does not say which they are.
    """
    path = run.model_folder / "model.safetensors"
    if not path.is_file():
        raise InputError(_tell_unkept([run], run.title))
    known = run.record.model_sha256
    if known is None:
        raise InputError(
            f"{run.folder / 'record.json'}: names no model_sha256, so nothing says that the weights beside it are its "
            f"own. Remove {run.model_folder}, then: {_command(run)}"
        )
    found = file_sha256(path)
    if found != known:
        raise InputError(
            f"{path}: these weights do not belong to the record beside them: their SHA-256 is {found}, the record's "
            f"model_sha256 {known}"
        )
    return run.model_folder


def _run(record: Record, store: RunStore) -> FinishedRun:
    return FinishedRun(record=record, folder=store.folder(*record.place))


def _answers(record: Record, wanted: Mapping[str, object]) -> bool:
    return all(value is None or value == _facts(record)[key] for key, value in wanted.items())


def _facts(record: Record) -> dict[str, object]:
    return {
        "encoder": record.encoder["name"],
        "task": record.task,
        "seed": record.seed,
        "run_id": record.run_id,
    }


def _tell_absent(
    wanted: Mapping[str, object], asked: str, every: Sequence[Record], here: Sequence[FinishedRun], store: RunStore
) -> str:
    """Why nothing answers, and what would."""
    results, run_id = store.root.parent, wanted["run_id"]
    unfinished = [record for record in every if record.status != "finished" and _answers(record, wanted)]
    if unfinished:
        states = ", ".join(sorted({record.status for record in unfinished}))
        return f"{asked or 'runs'}: {states} in {results}; only finished runs have results"
    if not here:
        return f"results_dir={results}: no finished run there; `glue-bench run task=rte save_model=true` makes one"
    if run_id is not None and run_id not in {run.record.run_id for run in here}:
        return _tell_unknown_id(run_id, here, results)
    for key, value in wanted.items():
        known = list(dict.fromkeys(str(_facts(run.record)[key]) for run in here))
        if value is not None and str(value) not in known:
            names = known if len(known) <= 2 * _LISTED else known[: 2 * _LISTED]
            return f"{key}={value}: no finished run in {results}{did_you_mean(str(value), names)}"
    return f"{asked}: no finished run in {results} has all of these; there are {_list(here)}"


def _tell_unknown_id(run_id: object, here: Sequence[FinishedRun], results: Path) -> str:
    """The id that was perhaps meant, or a few of those that there are, each with what it is."""
    titles = {run.record.run_id: f"run_id={run.record.run_id} ({_place(run)})" for run in here}
    close = difflib.get_close_matches(str(run_id), titles, n=1)
    told = f"; did you mean {titles[close[0]]}?" if close else f". There are {_shorten(titles.values(), _LISTED_IDS)}"
    return f"run_id={run_id}: no finished run in {results} has this id{told}"


def _tell_several(found: Sequence[FinishedRun], asked: str, store: RunStore) -> str:
    """What tells them apart, in the fewest words."""
    start = f"{len(found)} finished runs {f'answer to {asked}' if asked else 'are'} in {store.root.parent}; add one of "
    for key in ("task", "encoder", "seed"):
        values = [_facts(run.record)[key] for run in found]
        if len(set(values)) > 1:
            distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
            return start + _shorten([f"{key}={value}" for value in distinct])
    return start + _shorten([f"run_id={run.record.run_id} (recipe {_recipe(run.record)})" for run in found])


def _recipe(record: Record) -> str:
    """The recipe with what was changed, to tell runs of one seed apart."""
    changed = {**record.config.get("recipe_changes", {}), **record.config.get("cell", {})}
    values = [f"{key}={value}" for key, value in changed.items()]
    return " ".join([record.recipe, *values, f"on {record.data['source']}"])


def _tell_unkept(found: Sequence[FinishedRun], asked: str) -> str:
    if len(found) == 1:
        title = asked or found[0].title
        return f"{title}: this run kept no weights. To train it again and keep them: {_command(found[0])}"
    start = f"{asked}: " if asked else ""
    return (
        f"{start}none of the {len(found)} finished runs kept its weights. "
        f"To train the first again ({found[0].title}) and keep them: {_command(found[0])}"
    )


def _list(runs: Sequence[FinishedRun]) -> str:
    seeds: dict[str, list[str]] = {}
    for run in runs:
        seeds.setdefault(_place(run), []).append(str(run.record.seed))
    return _shorten([f"{place} seed={','.join(dict.fromkeys(numbers))}" for place, numbers in seeds.items()])


def _place(run: FinishedRun) -> str:
    return f"encoder={run.record.encoder['name']} task={run.record.task}"


def _shorten(names: Iterable[str], limit: int = _LISTED) -> str:
    every = list(names)
    rest = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + rest


def _command(run: FinishedRun) -> str:
    words = repeating_words(run.record, private=True)
    return shlex.join(["glue-bench", "run", *words, "save_model=true"])
