"""Runs whose epoch is selected."""

from collections.abc import Callable
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.support.training import LEARNING


@pytest.fixture
def run(tiny_words: list[str], tmp_path: Path) -> Callable[..., tuple[Record, Path]]:
    """Do a run through the command line; return its record and its folder."""

    def call(*words: str, results: str = "results") -> tuple[Record, Path]:
        plain = [word for word in tiny_words if not word.startswith(("trainer.epochs", "results_dir"))]
        assert main(["run", *plain, *LEARNING, f"results_dir={tmp_path / results}", *words]) == 0
        store = RunStore(tmp_path / results)
        (record,) = store.load_all()
        return record, store.folder(*record.place)

    return call
