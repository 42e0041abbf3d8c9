"""Which epoch's weights are scored: the best, on the dev set or on rows held out; resumed to the same bits."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.cli import main
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import TextEncoder
from glue_bench.data.rows import Split, draw_halves
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.report.page.evidence import read_texts
from glue_bench.runs.identity import make_requests
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import HALF, headline
from glue_bench.training.checkpoint import Snapshot, SnapshotStore
from glue_bench.training.schedule import Schedule
from glue_bench.training.seeds import SeedStreams, holdout_stream
from glue_bench.training.selection import BestEpoch, Selected, draw_holdout, take_rows
from glue_bench.training.stopping import Stopped
from glue_bench.training.trainer import FitResult, fit, predict
from glue_bench.training.updates import StepReport
from tests.support.fitting import fit_until
from tests.support.tiny import pair_columns, write_parquet
from tests.support.training import CPU, OWNER, ROWS, STREAMS, settings

CUT = settings(updates=13, epochs=99, accumulation=3, log_every=2, snapshot_minutes=0.0)  # 5, 5 and 3 updates


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a training."""

    weights: dict[str, torch.Tensor]
    selected: Selected
    result: FitResult
    epochs: list[dict[str, torch.Tensor]]  # the weights that were scored in this process
    rates: dict[int, float]  # by the updates in the history


def train(
    folder: Path, changed: TrainerConfig, store: SnapshotStore | None = None, *, stop_after: int | None = None
) -> Trained:
    """Train three epochs, of which the second scores best, with a real SIGUSR1 after an update."""
    model = load_classifier(folder, outputs=2, head_seed=STREAMS.head, engine=changed.engine)
    encoded = TextEncoder(folder, max_length=64).encode(ROWS)
    model.cut_vocabulary(encoded.tokens)

    def score() -> float:
        epochs.append(weights_of(model))
        logits = predict(model, encoded, batch_size=16, placement=CPU)
        return [0.0, 1.0, 0.5][len(best.scores)] + 1e-3 * float(np.tanh(logits).mean())

    epochs = list[dict[str, torch.Tensor]]()
    best = BestEpoch(model, score, on="validation", rows=len(ROWS), patience=changed.patience)
    more: dict[str, Any] = {"snapshots": store, "selection": best}
    history, result = fit_until(model, encoded, ROWS.labels, changed, stop_after=stop_after, **more)
    return Trained(
        weights=weights_of(model), selected=best.selected, result=result, epochs=epochs, rates=rates_of(history)
    )


def rates_of(history: list[StepReport]) -> dict[int, float]:
    return {line.step: line.learning_rate for line in history}


def weights_of(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(("family", "engine"), [("tiny_roberta", "flat"), ("tiny_bert", "padded")])
def test_a_training_with_selection_interrupted_after_any_update_ends_bit_for_bit_as_if_it_had_not(
    family: str, engine: Literal["flat", "padded"], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(family)
    changed = dataclasses.replace(CUT, engine=engine)
    whole = train(folder, changed)
    for stop in range(1, 13) if engine == "flat" else (5, 11):
        store = SnapshotStore(tmp_path / f"{stop}", belongs_to=OWNER)
        with pytest.raises(Stopped, match=f"SIGUSR1 after update {stop} of 13, snapshot kept"):
            train(folder, changed, store, stop_after=stop)
        again = train(folder, changed, store)
        assert same(again.weights, whole.weights), stop
        assert again.selected == whole.selected
        assert again.result.untouched_decay == whole.result.untouched_decay


def test_patience_ends_a_training_after_an_epoch_and_a_stop_anywhere_changes_no_bit(
    tiny_roberta: Path, tmp_path: Path
) -> None:
    patient = settings(
        epochs=6, patience=1, log_every=100, snapshot_minutes=0.0
    )  # 30 updates; the third epoch is worse
    whole = train(tiny_roberta, patient)
    assert (whole.result.epochs, whole.result.steps, whole.result.stopped) == (3, 15, True)
    assert (whole.selected.epoch, len(whole.selected.scores)) == (2, 3)
    assert same(whole.weights, whole.epochs[1])
    planned = Schedule.of(patient, total=30)  # over all epochs
    assert whole.rates == pytest.approx({step: 1e-3 * planned.share(step - 1) for step in (5, 10, 15)})
    for stop in (4, 5, 12, 15):
        store = SnapshotStore(tmp_path / f"{stop}", belongs_to=OWNER)
        with pytest.raises(Stopped):
            train(tiny_roberta, patient, store, stop_after=stop)
        again = train(tiny_roberta, patient, store)
        assert same(again.weights, whole.weights), stop
        assert (again.selected, again.result.steps, again.rates) == (whole.selected, 15, whole.rates)


@pytest.mark.parametrize(("every", "steps"), [("epoch", [5, 10, 13]), ("3", [3, 6, 9, 12, 13])])
@pytest.mark.parametrize(("family", "engine"), [("tiny_roberta", "flat"), ("tiny_bert", "padded")])
def test_scoring_the_dev_set_in_between_changes_no_bit_of_a_training_and_survives_a_stop(
    family: str,
    engine: Literal["flat", "padded"],
    every: str,
    steps: list[int],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder: Path = request.getfixturevalue(family)
    plain = dataclasses.replace(CUT, engine=engine, log_every=1)

    def run(
        changed: TrainerConfig, store: SnapshotStore | None = None, *, stop_after: int | None = None
    ) -> tuple[dict[str, torch.Tensor], list[StepReport]]:
        model = load_classifier(folder, outputs=2, head_seed=STREAMS.head, engine=engine)
        encoded = TextEncoder(folder, max_length=64).encode(ROWS)
        model.cut_vocabulary(encoded.tokens)
        more: dict[str, Any] = {
            "snapshots": store,
            "score_dev": lambda: float(predict(model, encoded, batch_size=16, placement=CPU).sum()),
        }
        history, _ = fit_until(model, encoded, ROWS.labels, changed, stop_after=stop_after, **more)
        return weights_of(model), history

    weights, history = run(plain)
    scoring = dataclasses.replace(plain, eval_every=every)
    scored, lines = run(scoring)
    assert same(scored, weights)
    assert [line.loss for line in lines] == [line.loss for line in history]
    assert [line.step for line in lines if line.dev is not None] == steps
    assert all(line.dev is None for line in history)
    sparse = dataclasses.replace(scoring, log_every=100)
    _, expected = run(sparse)
    assert [line.step for line in expected] == steps
    for stop in (steps[0], 7):
        store = SnapshotStore(tmp_path / f"{stop}", belongs_to=OWNER)
        with pytest.raises(Stopped):  # on a CPU every update is reported
            run(sparse, store, stop_after=stop)
        again, lines = run(sparse, store)
        assert same(again, weights)
        assert [(line.step, line.loss, line.dev) for line in lines] == [
            (line.step, line.loss, line.dev) for line in expected
        ]


def test_a_whole_training_in_a_snapshot_still_knows_its_best_epoch(tiny_roberta: Path, tmp_path: Path) -> None:
    store, often = SnapshotStore(tmp_path / "whole", belongs_to=OWNER), dataclasses.replace(CUT, snapshot_minutes=1e-9)
    whole, again = train(tiny_roberta, often, store), train(tiny_roberta, often, store)
    assert (again.result.resumed_at, again.epochs) == ([13], [])
    assert same(again.weights, whole.weights)
    assert again.selected == whole.selected


def test_the_model_ends_with_the_weights_of_the_best_epoch_and_training_is_the_same(tiny_roberta: Path) -> None:
    trained = train(tiny_roberta, CUT)
    assert (trained.selected.epoch, trained.selected.step, len(trained.selected.scores)) == (2, 10, 3)
    assert same(trained.weights, trained.epochs[1])
    model = load_classifier(tiny_roberta, outputs=2, head_seed=STREAMS.head)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(ROWS)
    model.cut_vocabulary(encoded.tokens)
    last = fit(model, encoded, labels=ROWS.labels, settings=CUT, streams=STREAMS, placement=CPU, history=[])
    assert same(weights_of(model), trained.epochs[2])
    assert (last.steps, last.epochs, last.tokens) == (13, 3, trained.result.tokens)


def test_rows_that_were_never_trained_decay_up_to_the_selected_update_only(tiny_roberta: Path) -> None:
    result = train(tiny_roberta, CUT).result
    rates = [CUT.learning_rate * Schedule.of(CUT, total=13).share(step) for step in range(10)]
    assert result.untouched_decay == pytest.approx(math.prod(1 - CUT.weight_decay * rate for rate in rates), rel=1e-12)


@pytest.mark.parametrize(
    ("scores", "epoch", "kept"),
    [
        ([0.5, 0.7, 0.6], 2, 0.7),
        ([0.5, 0.7, 0.7], 2, 0.7),
        ([math.nan, -0.2, math.nan], 2, -0.2),
        ([0.1, math.nan], 1, 0.1),
        ([math.nan, math.nan], 1, None),
    ],
)
def test_the_highest_score_wins_the_earlier_of_equals_and_anything_over_nan(
    scores: list[float], epoch: int, kept: float | None
) -> None:
    model, values = torch.nn.Linear(1, 1, bias=False), iter(scores)
    best = BestEpoch(model, lambda: next(values), on="holdout", rows=7)
    for number in range(1, len(scores) + 1):
        with torch.no_grad():
            model.weight.fill_(number)
        best.end_epoch(10 * number)
        stored = best.add_to(Snapshot(step=10 * number, tensors={}, metadata={}))
        best = BestEpoch(model, lambda: next(values), on="holdout", rows=7)
        best.restore(dataclasses.replace(stored, metadata=json.loads(json.dumps(stored.metadata, allow_nan=False))))
    best.put_back()
    assert model.weight.item() == epoch
    found = best.selected
    assert (found.epoch, found.step, found.score, found.on, found.rows) == (epoch, 10 * epoch, kept, "holdout", 7)
    assert found.scores == [None if math.isnan(score) else score for score in scores]


@pytest.mark.parametrize(("rows", "fraction", "held"), [(100, 0.1, 10), (2, 0.1, 1), (2, 0.99, 1), (7, 0.5, 4)])
def test_a_holdout_takes_its_share_and_leaves_a_row_on_each_side(rows: int, fraction: float, held: int) -> None:
    kept, out = draw_holdout(rows, fraction=fraction, seed=5)
    assert len(out) == held
    assert sorted([*kept, *out]) == list(range(rows))
    assert (np.diff(kept) > 0).all()


def test_the_holdouts_stream_is_a_fourth_one() -> None:
    streams = [holdout_stream(seed) for seed in range(50)]
    assert streams[:2] == [holdout_stream(0), holdout_stream(1)]
    others = {value for seed in range(50) for value in dataclasses.astuple(SeedStreams.from_seed(seed))}
    assert len({*streams} - others) == 50


def test_taken_rows_are_the_rows(tiny_roberta: Path) -> None:
    encoder = TextEncoder(tiny_roberta, max_length=64)
    rows = np.array([3, 4, 30])
    texts = tuple([column[row] for row in rows] for column in ROWS.texts)
    alone = encoder.encode(Split(texts=texts, labels=ROWS.labels[rows], idx=rows))
    taken = take_rows(encoder.encode(ROWS), rows)
    for name in ("tokens", "types", "offsets"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(alone, name))


LEARNING = ["trainer.epochs=5", "trainer.learning_rate=3e-3", "trainer.batch_size=8", "trainer.log_every=1"]


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
    schedule = Schedule(total=record.steps, warmup=math.ceil(record.steps * trainer["warmup"]))
    rates = [trainer["learning_rate"] * schedule.share(step) for step in range(record.steps)]
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
