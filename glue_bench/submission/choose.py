"""Which finished run predicts each task: one rule for all tasks, and nothing by chance. Knows no files of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.runs.finished import FinishedRun
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import headline

PICKS = ("median", "best")
_CONVENTION = "card"  # whose scores rank the seeds of one setting
_LISTED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which runs may answer."""

    encoder: str | None = None  # by name; None where there is only one
    seed: int | None = None
    pick: str = "median"  # one of PICKS: which of several seeds, by the dev set
    run_ids: Sequence[str] = ()  # each for its task, before any rule
    settings: Mapping[str, str] = field(default_factory=dict)  # recipe, init, selection, trainer.KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The run that predicts a task, and how it was chosen."""

    run: FinishedRun
    why: str
    score: float  # on the dev set: the mean of the task's metrics there, in natural units


def choose_runs(store: RunStore, tasks: Sequence[str], *, wish: Wish) -> tuple[str, dict[str, Choice]]:
    """The encoder, and a run for each of the tasks that has one. Runs on sample data never count.

    Of several seeds of one setting the one with the median dev score is taken (of an even number the lower of the
    two), or the best.

    Raises:
        UsageError: no run at all, or several encoders or settings; the line says how to choose.
    """
    finished = [
        record
        for record in store.load_all()
        if record.status == "finished" and record.task in tasks and record.data["source"] != "sample"
    ]
    encoder = _choose_encoder(finished, wish, store)
    ours = [record for record in finished if record.encoder["name"] == encoder]
    unknown = set(wish.run_ids) - {record.run_id for record in ours}
    if unknown:
        raise UsageError(f"run_id={min(unknown)}: no such finished run of {encoder} on these tasks")
    chosen = {}
    for task in tasks:
        found = [record for record in ours if record.task == task]
        named = [record for record in found if record.run_id in wish.run_ids]
        if len(named) > 1:
            raise UsageError(f"run_id={','.join(record.run_id for record in named)}: one run for {task}")
        choice = _choose(named or [record for record in found if _answers(record, wish)], task, wish)
        if choice is not None:
            record, why = choice
            run = FinishedRun(record=record, folder=store.folder(*record.place))
            chosen[task] = Choice(run=run, why=why, score=_dev_score(record))
    return encoder, chosen


def _choose_encoder(finished: Sequence[Record], wish: Wish, store: RunStore) -> str:
    names = sorted({str(record.encoder["name"]) for record in finished})
    if not names:
        done = [record for record in store.load_all() if record.status == "finished"]
        only = " but on sample data" if any(record.data["source"] == "sample" for record in done) else ""
        raise UsageError(
            f"results_dir={store.root.parent}: no finished run there{only}; "
            "`glue-bench sweep save_model=true` makes them"
        )
    if wish.encoder is not None:
        if wish.encoder not in names:
            raise UsageError(f"encoder={wish.encoder}: no finished run{did_you_mean(wish.encoder, names)}")
        return wish.encoder
    if len(names) > 1:
        raise UsageError(f"encoder: say whose runs, as {' or '.join(f'encoder={name}' for name in names)}")
    return names[0]


def _answers(record: Record, wish: Wish) -> bool:
    if wish.seed is not None and record.seed != wish.seed:
        return False
    known = _words(record)
    for key, value in wish.settings.items():
        if key == "init" and value not in task_of(record).init_from:
            value = "pretrained"  # as in a sweep: tasks that do not start from another keep the pretrained encoder
        if key not in known or not _same(known[key], value):
            return False
    return True


def _choose(found: Sequence[Record], task: str, wish: Wish) -> tuple[Record, str] | None:
    settings = {record.setting_id: record for record in found}
    if not found:
        return None
    if len(settings) > 1:
        raise UsageError(_tell_settings(task, list(settings.values())))
    if len(found) == 1:
        (only,) = found
        named = only.run_id in wish.run_ids
        return only, "named" if named else f"seed={only.seed}" if wish.seed is not None else "the only seed"
    ranked = sorted(found, key=lambda record: (_dev_score(record), record.seed))
    place = len(ranked) - 1 if wish.pick == "best" else (len(ranked) - 1) // 2
    return ranked[place], f"{wish.pick} of {len(ranked)} seeds on the dev set"


def _dev_score(record: Record) -> float:
    return headline(task_of(record).parts(_CONVENTION), record.scores)


def _words(record: Record) -> dict[str, Any]:
    """What a wish may name of a run's setting."""
    trainer = {f"trainer.{key}": value for key, value in record.config["trainer"].items()}
    init = record.init_kind
    return {"recipe": record.recipe, "init": init, "selection": record.selection, **trainer}


def _same(known: object, asked: str) -> bool:
    try:
        return float(asked) == float(known)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return asked == ("null" if known is None else str(known))


def _tell_settings(task: str, records: Sequence[Record]) -> str:
    """What tells the settings apart, in the fewest words."""
    start = f"task={task}: finished runs of {len(records)} settings; add "
    words = [_words(record) for record in records]
    for key in words[0]:
        values = {str(each.get(key)) for each in words}
        if len(values) == len(records):
            return start + " or ".join(f"{key}={value}" for value in sorted(values)[:_LISTED])
    runs = [f"{record.run_id} (recipe {record.recipe} on {record.data['source']})" for record in records]
    return f"{start}run_id=[...] with one of {', '.join(runs[:_LISTED])}"
