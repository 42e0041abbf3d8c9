"""Which epoch's weights are scored: the best, on the dev set or on rows held out; resumed to the same bits."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import TextEncoder
from glue_bench.data.rows import Split, draw_holdout
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.training.checkpoint import BestEpoch, Snapshot, SnapshotStore
from glue_bench.training.course import SeedStreams, StepReport, holdout_stream, rate_share
from glue_bench.training.stopping import Stopped
from glue_bench.training.trainer import FitResult, fit, predict
from tests.support.fitting import fit_until
from tests.support.training import CPU, OWNER, ROWS, STREAMS, settings

CUT = settings(updates=13, epochs=99, accumulation=3, log_every=2, snapshot_minutes=0.0)  # 5, 5 and 3 updates


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a training."""

    weights: dict[str, torch.Tensor]
    selected: dict[str, Any]
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
    best = BestEpoch(model, score, patience=changed.patience)
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
    assert (whole.selected["epoch"], len(whole.selected["scores"])) == (2, 3)
    assert same(whole.weights, whole.epochs[1])
    planned = {step: 1e-3 * rate_share(patient, step - 1, total=30) for step in (5, 10, 15)}  # over all epochs
    assert whole.rates == pytest.approx(planned)
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
    assert (trained.selected["epoch"], trained.selected["step"], len(trained.selected["scores"])) == (2, 10, 3)
    assert same(trained.weights, trained.epochs[1])
    model = load_classifier(tiny_roberta, outputs=2, head_seed=STREAMS.head)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(ROWS)
    model.cut_vocabulary(encoded.tokens)
    last = fit(model, encoded, labels=ROWS.labels, settings=CUT, streams=STREAMS, placement=CPU, history=[])
    assert same(weights_of(model), trained.epochs[2])
    assert (last.steps, last.epochs, last.tokens) == (13, 3, trained.result.tokens)


def test_rows_that_were_never_trained_decay_up_to_the_selected_update_only(tiny_roberta: Path) -> None:
    result = train(tiny_roberta, CUT).result
    rates = [CUT.learning_rate * rate_share(CUT, step, total=13) for step in range(10)]
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
    best = BestEpoch(model, lambda: next(values))
    for number in range(1, len(scores) + 1):
        with torch.no_grad():
            model.weight.fill_(number)
        best.end_epoch(10 * number)
        stored = best.add_to(Snapshot(step=10 * number, tensors={}, metadata={}))
        best = BestEpoch(model, lambda: next(values))
        best.restore(dataclasses.replace(stored, metadata=json.loads(json.dumps(stored.metadata, allow_nan=False))))
    best.put_back()
    assert model.weight.item() == epoch
    found = best.selected
    assert found.pop("scores") == [None if math.isnan(score) else score for score in scores]
    assert found == {"epoch": epoch, "step": 10 * epoch, "score": kept}


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
    taken = encoder.encode(ROWS).take(rows)
    for name in ("tokens", "types", "offsets"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(alone, name))
