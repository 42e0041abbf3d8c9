"""Runs whose model cards are tested."""

from pathlib import Path

from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.store import RunStore

CARD_FILES = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def run_of(results: Path, task: str) -> FinishedRun:
    return find_finished(RunStore(results), task=task, need_model=True)
