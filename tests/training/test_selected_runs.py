"""Runs whose epoch is selected: on the dev set, on held-out rows, on one half of the dev set."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.cli import main
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import TrainerConfig
from glue_bench.config.task import HALF, headline
from glue_bench.data.rows import draw_halves, draw_holdout
from glue_bench.report.page.entries import read_texts
from glue_bench.runs.identity import make_requests
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.training.course import SeedStreams, holdout_stream, rate_share
from tests.support.tiny import pair_columns, write_parquet


@pytest.mark.parametrize("task", ["mrpc", "mnli", "stsb"])
def test_best_scores_the_epoch_that_is_highest_on_the_dev_set(
    task: str, run: Callable[..., tuple[Record, Path]]
) -> None:
    record, _ = run(f"task={task}", "selection=best", "trainer.learning_rate=1e-3")
    selected, parts = record.selected, task_of(record).parts("card")
    assert (record.selection, selected["on"], len(selected["scores"])) == ("best", "validation", 5)
    assert selected["rows"] == {"mrpc": 20, "mnli": 29, "stsb": 20}[task]
    assert task == "mnli" or len(set(selected["scores"])) > 1  # three classes are too many for 48 rows
    assert headline(parts, record.scores) == selected["score"] == max(selected["scores"])
    assert selected["scores"].index(selected["score"]) == selected["epoch"] - 1
    assert selected["step"] == selected["epoch"] * record.steps / 5


def test_an_exported_model_has_the_selected_weights(
    run: Callable[..., tuple[Record, Path]], tiny_roberta: Path
) -> None:
    record, folder = run("task=mrpc", "selection=best", "save_model=true")
    assert 0 < record.selected["step"] < record.steps  # else this test would show nothing
    trainer = record.config["trainer"]
    settings = TrainerConfig(**trainer)
    rates = [settings.learning_rate * rate_share(settings, step, total=record.steps) for step in range(record.steps)]
    decay = math.prod(1 - rate * trainer["weight_decay"] for rate in rates[: record.selected["step"]])
    before = AutoModel.from_pretrained(tiny_roberta).get_input_embeddings().weight
    exported = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    after = exported.get_input_embeddings().weight
    mask = 4  # occurs in no text
    torch.testing.assert_close(after[mask], before[mask] * decay, rtol=1e-6, atol=0)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = pair_columns(20, seed=2)
    inputs = tokenizer(rows["sentence1"], rows["sentence2"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = exported(**inputs).logits.numpy()
    kept = pq.read_table(folder / "predictions" / "validation.parquet", columns=["logit_0", "logit_1"]).to_pandas()
    np.testing.assert_allclose(logits, kept.to_numpy(), atol=1e-5)


def relabelled(local_glue: Path, folder: Path, split: str, rows: Iterable[int]) -> Path:
    """Copy the small tasks, with other labels for some rows of mrpc."""
    columns = pq.read_table(local_glue / "mrpc" / f"{split}.parquet").to_pydict()
    flipped = set(rows)
    columns["label"] = [1 - label if row in flipped else label for row, label in enumerate(columns["label"])]
    shutil.copytree(local_glue, folder)
    write_parquet(folder / "mrpc" / f"{split}.parquet", columns)
    return folder


def test_held_out_rows_are_never_trained_on_and_the_dev_set_decides_nothing(
    run: Callable[..., tuple[Record, Path]], local_glue: Path, tmp_path: Path
) -> None:
    words = ["task=mrpc", "selection=holdout", "holdout=0.25", "seed=7"]
    record, folder = run(*words)
    kept, held = draw_holdout(48, fraction=0.25, seed=holdout_stream(7))
    assert (record.selection, record.selected["on"], record.selected["rows"]) == ("holdout", "holdout", 12)
    assert record.streams == {**dataclasses.asdict(SeedStreams.from_seed(7)), "holdout": holdout_stream(7)}
    assert (record.steps, record.data["rows"]["train"]) == (5 * math.ceil(36 / 8), 48)

    def losses(folder: Path) -> list[str]:
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return [f"{line['loss']!r} {line['gradient_norm']!r}" for line in lines]

    def again(split: str, rows: Iterable[int], name: str) -> tuple[Record, Path]:
        return run(*words, f"data.path={relabelled(local_glue, tmp_path / f'data {name}', split, rows)}", results=name)

    other, there = again("train", held, "held")
    assert losses(there) == losses(folder)
    assert other.selected["scores"] != record.selected["scores"]
    _, there = again("train", kept[:1], "kept")
    assert losses(there) != losses(folder)
    other, there = again("validation", range(20), "dev")
    assert (losses(there), other.selected) == (losses(folder), record.selected)
    assert other.scores != record.scores


def test_patience_on_a_holdout_never_sees_the_dev_set_and_the_record_says_when_it_ended(
    run: Callable[..., tuple[Record, Path]], local_glue: Path, tmp_path: Path
) -> None:
    words = ["task=mrpc", "selection=holdout", "holdout=0.25", "trainer.epochs=40", "trainer.patience=2"]
    record, _ = run(*words)
    assert record.selected["stopped"] == record.epochs == record.selected["epoch"] + 2 < 40
    assert (record.steps, len(record.selected["scores"])) == (record.epochs * math.ceil(36 / 8), record.epochs)
    other, _ = run(
        *words, f"data.path={relabelled(local_glue, tmp_path / 'dev', 'validation', range(20))}", results="b"
    )
    assert (other.selected, other.steps) == (record.selected, record.steps)
    assert other.scores != record.scores


@pytest.mark.parametrize("rows", [2, 7, 20])
def test_halves_add_up_and_do_not_overlap(rows: int) -> None:
    choose, score = draw_halves(rows, seed=3)
    assert (len(choose), len(score)) == (rows // 2, rows - rows // 2)
    assert sorted([*choose, *score]) == list(range(rows))
    assert rows == 2 or {*choose} != {*draw_halves(rows, seed=4)[0]}


def test_one_half_of_the_dev_set_chooses_the_epoch_and_only_the_other_is_scored(
    run: Callable[..., tuple[Record, Path]], local_glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=mrpc", "selection=halves", "seed=7", "trainer.epochs=2"]
    record, folder = run(*words)
    choose, score = draw_halves(20, seed=7)
    assert (record.data["rows"]["validation"], record.data["choosing"], record.selected["rows"]) == (
        10, {"validation": 10}, 10,
    )  # fmt: skip
    assert HALF in record.not_comparable_because
    kept = pq.read_table(folder / "predictions" / "validation.parquet").to_pydict()
    assert kept["idx"] == score.tolist()

    def again(name: str, rows: NDArray[np.int64]) -> Record:
        return run(
            *words, f"data.path={relabelled(local_glue, tmp_path / name, 'validation', rows)}", results=f"r{name}"
        )[0]

    other = again("score", score)
    assert (other.selected, other.scores == record.scores) == (record.selected, False)
    assert again("choose", choose[:3]).selected["scores"] != record.selected["scores"]
    place = f"results_dir={tmp_path / 'results'}"
    capsys.readouterr()
    assert main(["report", "--format", "json", place]) == 0
    (row,) = json.loads(capsys.readouterr().out)["sections"][0]["rows"]
    assert (row["n"], row["optimistic"], row["comparable"], row["selection"]) == (10, False, False, "halves")
    assert "selected on half of the dev split, and scored on the other" in row["note"]
    assert row["low"] is not None
    sentences = pq.read_table(local_glue / "mrpc" / "validation.parquet").to_pydict()["sentence1"]
    assert [*read_texts(record)["validation"][0]] == [sentences[row] for row in score]


def test_seeds_with_halves_of_their_own_have_no_common_interval_and_are_not_compared(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny_words, "task=mrpc", "selection=halves"]
    for rate in ("1e-4", "1e-3"):
        assert main(["sweep", *words, "seeds=[1,2]", f"trainer.learning_rate={rate}", "executor=serial"]) == 0
    assert "no interval: each seed is scored on its own half" in " ".join(capsys.readouterr().out.split())
    compare = ["compare", "tiny", "tiny", "--by", "trainer.learning_rate", f"results_dir={tmp_path / 'results'}"]
    assert main(compare) in (0, 1, 2)
    captured = capsys.readouterr()
    assert "each seed is scored on its own half of the dev rows" in " ".join((captured.out + captured.err).split())


def test_a_single_training_row_cannot_be_held_out(tiny_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=mrpc", "selection=holdout", "data.max_train_rows=1", *tiny_words]) == 3
    assert "selection=holdout: train has 1 row" in capsys.readouterr().err
    assert main(["run", "task=mrpc", "selection=halves", "data.max_eval_rows=1", *tiny_words]) == 3
    assert "selection=halves: validation has 1 row, and one is needed on each side" in capsys.readouterr().err


def test_the_selection_is_part_of_a_runs_identity_and_an_unused_holdout_is_not() -> None:
    def run_id(*words: str) -> str:
        return make_requests(compose_run(["task=rte", *words]), [1])[0].run_id

    base = run_id()
    assert run_id("holdout=0.3") == run_id("selection=last") == base
    assert run_id("selection=best", "holdout=0.3") == run_id("selection=best")
    others = [["selection=best"], ["selection=holdout"], ["selection=holdout", "holdout=0.3"], ["trainer.updates=1560"]]
    assert len({base, *(run_id(*words) for words in others)}) == 5


def test_a_sweep_trains_every_cell_once_and_prints_the_best(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny_words, "recipe=roberta_paper", "tasks=[rte]", "grid.learning_rate=[1e-4,1e-3]"]
    assert main(["sweep", "seeds=[1]", *words, "trainer.batch_size=16"]) == 0
    captured = capsys.readouterr()
    assert "tiny rte seed 1 learning_rate=0.001 batch_size=16: finished" in captured.err
    assert "best of 2 cells (the grid has 4): learning_rate=0.00" in " ".join(captured.out.split())
    records = list(RunStore(tmp_path / "results").load_all())
    assert [
        record.config["cell"] for record in sorted(records, key=lambda run: run.config["cell"]["learning_rate"])
    ] == [{"learning_rate": rate, "batch_size": 16} for rate in (1e-4, 1e-3)]
    assert main(["sweep", "seeds=[1]", *words, "trainer.batch_size=16"]) == 0
    assert "2 runs: 2 done, 0 to run; nothing to train" in capsys.readouterr().err
    one = [word for word in words if not word.startswith("tasks=")]
    assert main(["run", *one, "task=rte", "trainer.learning_rate=1e-4"]) == 0
    assert "already done, nothing to train" in capsys.readouterr().err
