"""The texts of the dev rows, read again from where a run had them. Never asks a network."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.hub import is_cached
from glue_bench.data.rows import load_task_data
from glue_bench.data.sources import hub_files, resolve_source
from glue_bench.errors import GlueBenchError
from glue_bench.runs.record import Record, task_of

Texts = Mapping[str, Sequence[Sequence[str]]]  # validation split to its text columns


class DevRows:
    """Texts by data source, each read once."""

    def __init__(self) -> None:
        """Nothing is read before it is asked for."""
        self._known: dict[str, tuple[Texts | None, str]] = {}

    def texts_of(self, record: Record) -> tuple[Texts | None, str]:
        """The texts of the validation splits, or None and why there are none."""
        facts = [record.task, record.config["data"], record.data.get("revision"), record.data.get("fingerprint")]
        key = json.dumps(facts, sort_keys=True, default=str)
        if key not in self._known:
            try:
                self._known[key] = _read_texts(record), ""
            except _UnavailableError as error:
                self._known[key] = None, str(error)
        return self._known[key]


class _UnavailableError(Exception):
    """Why the texts cannot be shown."""


def _read_texts(record: Record) -> Texts:
    task, data = task_of(record), _data_config(record)
    if data.source == "hub" and not _is_cached(data, task):
        raise _UnavailableError(f"{data.dataset} at {data.revision} is not in the hub client's cache here.")
    try:
        loaded = load_task_data(resolve_source(data, task), data, task=task)
    except GlueBenchError as error:
        raise _UnavailableError(f"{str(error).splitlines()[0]}.") from error
    if loaded.fingerprint != record.data.get("fingerprint"):
        raise _UnavailableError("the rows that are there now are not those of the runs (another fingerprint).")
    return {split: loaded.splits[split].texts for split in task.validation}


def _data_config(record: Record) -> DataConfig:
    given: Mapping[str, Any] = record.config["data"]
    known = {key: given.get(key) for key in ("dataset", "path", "max_train_rows", "max_eval_rows")}
    revision = record.data.get("revision") or given.get("revision")
    return DataConfig(source=record.data["source"], revision=revision, **known)


def _is_cached(data: DataConfig, task: TaskConfig) -> bool:
    return all(
        is_cached(data.dataset or "", name, revision=data.revision or "", repo_type="dataset")
        for name in hub_files(task).values()
    )
