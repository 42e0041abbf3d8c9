"""The runs of a results folder as folders: what is in them, how large they are, and their removal. Knows no torch."""

import contextlib
import dataclasses
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_bench.config.task import headline
from glue_bench.errors import DiskError, InputError
from glue_bench.files import disk_errors
from glue_bench.runs.filters import KEYS, Filters, facts_of
from glue_bench.runs.lease import Owner, owner_of, take_lease
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting, show_words, sort_place, tell_apart
from glue_bench.runs.store import SEED, RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """One folder under `<results_dir>/runs/<encoder>/<task>/`."""

    path: Path
    encoder: str
    task: str
    seed: int | None  # None where neither record nor name says it
    state: str  # running, the record's status, damaged (record), or unfinished (no record)
    size: int  # bytes of its files
    setting: str = ""  # how it differs from the other settings of its encoder and task, in words
    record: Record | None = None

    @property
    def score(self) -> float | None:
        """The task's score x 100, to two decimals; None unless the run finished."""
        if self.record is None or not self.record.finished:
            return None
        return round(100 * headline(task_of(self.record).parts("card"), self.record.scores), 2)

    def to_json(self) -> dict[str, Any]:
        """Return the run as a row of the list."""
        facts = {name: getattr(self, name) for name in ("encoder", "task", "setting", "seed", "state", "score")}
        ids = {"setting_id": self.record.setting_id if self.record else "", "run_id": self.path.name}
        return {**facts, "bytes": self.size, **ids, "folder": str(self.path)}


def list_runs(store: RunStore, filters: Filters) -> list[RunFolder]:
    """Return the runs that fit, by encoder, task, setting and seed; a UsageError if there are some and none fits."""
    every = list[tuple[RunFolder, Mapping[str, Any]]]()
    settings = defaultdict[tuple[str, str], dict[str, Setting]](dict)
    for path in store.folders():
        record, named, (encoder, task) = store.load(*path.parts[-3:]), SEED.match(path.name), path.parts[-3:-1]
        state = record.status if record else "damaged" if os.path.lexists(path / "record.json") else "unfinished"
        run = RunFolder(
            path=path,
            encoder=encoder,
            task=task,
            seed=record.seed if record else int(named[1]) if named else None,
            state="running" if owner_of(path) else state,
            size=sum(_sizes(path)),
            record=record,
        )
        known = {"encoder": encoder, "task": task, "seed": "" if run.seed is None else run.seed}
        facts = facts_of(record) if record else {**dict.fromkeys(KEYS, ""), **known}
        every.append((run, {**facts, "run_id": path.name, "status": run.state}))
    found = filters.choose(every, place=store.root.parent)
    for run in found:
        if run.record:
            settings[run.encoder, run.task].setdefault(run.record.setting_id, Setting.of(run.record))
    apart = dict[str, dict[str, Any]]()
    for alike in settings.values():
        apart |= dict(zip(alike, tell_apart([*alike.values()]), strict=True))

    def of_setting(run: RunFolder) -> dict[str, Any]:
        return apart[run.record.setting_id] if run.record else {}

    found.sort(key=lambda run: (run.encoder, run.task, sort_place(of_setting(run)), run.seed or 0))
    return [dataclasses.replace(run, setting=show_words(of_setting(run))) for run in found]


def remove_run(store: RunStore, run: RunFolder) -> None:
    """Delete a run's folder and all that is in it; its record first, so that what is left never counts as a result.

    An InputError if a worker has the run, or a link leads to it: what it points to is not ours. A DiskError if it
    cannot be deleted.
    """
    for path in (store.root, run.path.parents[1], run.path.parent, run.path):
        if path.is_symlink():
            raise InputError(f"{run.path}: not removed: {path} is a link")
    lease = take_lease(run.path)
    if isinstance(lease, Owner):
        raise InputError(f"{run.path}: not removed: {lease.title} is running it")
    try:
        with disk_errors(run.path, "cannot be removed"):
            (run.path / "record.json").unlink(missing_ok=True)
            for path in run.path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif not path.name.startswith("claim-"):
                    path.unlink()
    except DiskError:
        lease.release(done=False)
        raise
    lease.release(done=True)
    with contextlib.suppress(OSError):  # not empty, or in use
        for folder in (run.path, run.path.parent, run.path.parents[1]):
            folder.rmdir()


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the size of every file below, links themselves."""
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118
