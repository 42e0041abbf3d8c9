"""Choose the finished run that predicts each task: one rule for all tasks, and nothing by chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.runs.finished import FinishedRun
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import headline

PICKS = ("median", "best")
_CONVENTION = "card"  # its scores rank the seeds of one setting
_LISTED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which runs may be chosen."""

    encoder: str | None = None  # by name; None if there is only one
    seed: int | None = None
    pick: str = "median"  # one of PICKS: which of several seeds, by the dev set
    run_ids: Sequence[str] = ()  # each for its task, before any rule
    settings: Mapping[str, str] = field(default_factory=dict)  # recipe, init, selection, trainer.KEY

    def fits(self, record: Record) -> bool:
        """Whether a run has the seed and the settings."""
        known = Setting.of(record).facts()
        for key, value in self.settings.items():
            if key == "init" and value not in task_of(record).init_from:
                value = "pretrained"  # as in a sweep: tasks that do not start from another keep the pretrained encoder
            if key not in known or not _same(known[key], value):
                return False
        return self.seed in (None, record.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The run that predicts a task, and how it was chosen."""

    run: FinishedRun
    why: str
    score: float  # on the dev set: the mean of the task's metrics there, in natural units


def choose_runs(store: RunStore, tasks: Sequence[str], *, wish: Wish) -> tuple[str, dict[str, Choice]]:
    """The encoder, and a run for each of the tasks that has one. Runs on sample data never count.

    Of several seeds of one setting, the one with the median dev score is chosen (of an even number the lower of the
    two), or the best.

    Raises:
        UsageError: no run at all, or several encoders or settings; the message says how to choose.
    """
    finished = [record for record in store.load_all() if record.status == "finished"]
    usable = [record for record in finished if record.task in tasks and record.data["source"] != "sample"]
    if not usable:
        only = " but on sample data" if any(record.data["source"] == "sample" for record in finished) else ""
        help_ = "`glue-bench sweep save_model=true` makes them"
        raise UsageError(f"results_dir={store.root.parent}: no finished run there{only}; {help_}")
    encoder = _choose_encoder(usable, wish)
    ours = [record for record in usable if record.encoder["name"] == encoder]
    unknown = set(wish.run_ids) - {record.run_id for record in ours}
    if unknown:
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


def _choose_encoder(records: Sequence[Record], wish: Wish) -> str:
    names = sorted({str(record.encoder["name"]) for record in records})
    if wish.encoder is None and len(names) > 1:
        raise UsageError(f"encoder: several have finished runs; add {' or '.join(f'encoder={name}' for name in names)}")
    if wish.encoder not in (None, *names):
        raise UsageError(f"encoder={wish.encoder}: no finished run{did_you_mean(str(wish.encoder), names)}")
    return wish.encoder or names[0]


def _choose_seed(records: Sequence[Record], wish: Wish) -> tuple[Record, str]:
    """One of a task's runs, and why."""
    settings = list({record.setting_id: record for record in records}.values())
    if len(settings) > 1:
        raise UsageError(_compare_settings(settings))
    if len(records) == 1:
        return records[0], "the only seed" if wish.seed is None else f"seed={wish.seed}"
    ranked = sorted(records, key=lambda record: (_dev_score(record), record.seed))
    place = len(ranked) - 1 if wish.pick == "best" else (len(ranked) - 1) // 2
    return ranked[place], f"{wish.pick} of {len(ranked)} seeds on the dev set"


def _compare_settings(records: Sequence[Record]) -> str:
    """A message with words that select one of these records' settings."""
    start = f"task={records[0].task}: finished runs of {len(records)} settings; add "
    first, *others = (Setting.of(record) for record in records)
    for key, values in first.difference(*others).items():
        distinct = sorted({str(value) for value in values})
        if len(distinct) == len(records) and (key in ("recipe", "init", "selection") or key.startswith("trainer.")):
            return start + " or ".join(f"{key}={value}" for value in distinct[:_LISTED])
    runs = [f"{record.run_id} (recipe {record.recipe} on {record.data['source']})" for record in records]
    return f"{start}run_id=[...] with one of {', '.join(runs[:_LISTED])}"


def _dev_score(record: Record) -> float:
    return headline(task_of(record).parts(_CONVENTION), record.scores)


def _same(known: object, asked: str) -> bool:
    try:
        return float(asked) == float(known)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return asked == ("null" if known is None else str(known))
