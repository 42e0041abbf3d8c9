"""`glue-bench card`: a finished run as a model to share, with every score and no false claim."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import pipeline

from glue_bench.cli import main
from glue_bench.model_card import write_card
from tests.support.cards import run_of

TEXTS = {
    "rte": ("sentence1", "sentence2"),
    "stsb": ("sentence1", "sentence2"),
    "sst2": ("sentence",),
    "mnli": ("premise", "hypothesis"),
}


@pytest.mark.parametrize("task", list(TEXTS))
def test_a_pipeline_of_the_folder_predicts_what_the_run_stored(task: str, results: Path, local_glue: Path) -> None:
    assert main(["card", f"task={task}", f"results_dir={results}", "--out", "model"]) == 0
    run = run_of(results, task)
    split = run.task.validation[0]
    rows = pq.read_table(local_glue / task / f"{split}.parquet").to_pydict()
    columns: list[list[str]] = [rows[name] for name in TEXTS[task]]
    asked: Any = (
        columns[0] if len(columns) == 1 else [{"text": a, "text_pair": b} for a, b in zip(*columns, strict=True)]
    )
    classify = pipeline("text-classification", model="model", device="cpu", function_to_apply="none", top_k=None)
    said: Any = classify(asked)
    named = [{each["label"]: each["score"] for each in row} for row in said]
    names = run.task.labels or ["LABEL_0"]
    found = np.array([[row[name] for name in names] for row in named])
    kept = pq.read_table(run.folder / "predictions" / f"{split}.parquet")
    stored = np.stack([kept[f"logit_{code}"].to_numpy() for code in range(len(names))], axis=1)
    np.testing.assert_allclose(found, stored, atol=1e-6)
    if task == "stsb":  # without this, it gives the score itself
        plain: Any = pipeline("text-classification", model="model", device="cpu")(asked)
        np.testing.assert_allclose([row["score"] for row in plain], stored[:, 0], atol=1e-6)


@pytest.mark.parametrize("task", ["rte", "sst2", "stsb"])
def test_the_snippet_in_the_card_runs_in_its_folder(
    task: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_card(run_of(results, task), tmp_path / "model")
    match = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert match is not None
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    lines = match[1].strip().splitlines()
    exec("\n".join([*lines[:-1], f"answer = {lines[-1]}"]), names)  # noqa: S102 - what a reader would do
    labels = {each["label"] for each in names["answer"]}
    assert labels == set(run_of(results, task).task.labels or ["LABEL_0"])
