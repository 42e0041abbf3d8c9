"""Folders of local rows, and what is read from them."""

from pathlib import Path
from typing import Any

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import RunConfig, TaskConfig
from glue_bench.data.rows import TaskData, load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.data.tables import Table
from tests.support.tiny import write_parquet

RTE: dict[str, list[object]] = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1], "idx": [10, 11]}


def load(folder: Path, *words: str, task: str = "rte") -> TaskData:
    config = compose(folder, *words, task=task)
    return load_task_data(resolve_source(config.data, config.task), config.data, task=config.task)


def compose(folder: Path, *words: str, task: str = "rte") -> RunConfig:
    return compose_run([f"task={task}", "data=local", f"data.path={folder}", *words])


def write_rte(folder: Path, columns: dict[str, list[object]] | None = None, name: str = "train.parquet") -> Path:
    return write_parquet(folder / "rte" / name, {**RTE, **(columns or {})})


def classes(labels: list[str]) -> TaskConfig:
    return TaskConfig(name="x", title="X", kind="classification", texts=["text"], labels=labels, metrics=["accuracy"])


def table_of(columns: dict[str, list[object]], **about: Any) -> Table:
    return Table(where="file", names=columns, read=columns.__getitem__, **about)


def columns_of(table: Table) -> dict[str, list[object]]:
    return {name: table.read(name) for name in table.names}
