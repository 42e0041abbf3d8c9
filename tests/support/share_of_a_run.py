"""The work of each process of tests/training/test_distributed.py: trainings and predictions of random rows."""

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.config.compose import compose_run
from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.kernels import FlatBatch
from glue_bench.models.placement import choose_placement
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.course import SeedStreams, StepReport
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import SIGNALS, Stopped
from glue_bench.training.trainer import FitResult, fit, predict

ROWS, BATCH, EPOCHS, STOP_AFTER = 29, 7, 2, 4  # the last batch of an epoch is one row

WAYS: dict[str, Any] = {
    "schedule": "cosine",
    "layer_decay": 0.8,
    "decay_biases": True,
    "label_smoothing": 0.1,
    "class_weights": [1.0, 3.0],
}


def random_rows() -> Encoded:
    rng = np.random.default_rng(5)
    lengths = rng.integers(4, 30, ROWS)
    tokens = rng.integers(5, 200, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(tokens=tokens, types=np.zeros_like(tokens, dtype=np.int8), offsets=offsets, truncated=0)


def load(folder: Path, encoded: Encoded) -> Classifier:
    model = load_classifier(folder, outputs=2, head_seed=1)
    model.cut_vocabulary(encoded.tokens)
    model.register_parameter("unused", torch.nn.Parameter(torch.ones(3, 2)))
    return model


def train(
    model: Classifier,
    encoded: Encoded,
    processes: Processes,
    *,
    history: list[StepReport],
    seeds: list[int] | None = None,
    snapshots: Path | None = None,
    stopped_by: int | None = None,
    **ways: Any,
) -> FitResult:
    """Train; `seeds` gets those of every update's dropout, and process `stopped_by` sends itself a signal."""
    settings = dataclasses.replace(
        compose_run(["task=rte"]).trainer,
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=1e-3,
        weight_decay=0.5,
        log_every=1,
        **ways,
    )

    def on_step(line: StepReport) -> None:
        if seeds is not None:
            seeds.append(torch.initial_seed())
        if line.step == STOP_AFTER and processes.rank == stopped_by:
            os.kill(os.getpid(), signal.SIGUSR1)

    store = SnapshotStore(snapshots, belongs_to={}) if snapshots and processes.leads else None
    with SIGNALS.handled(), SIGNALS.at_a_good_moment():
        return fit(
            model,
            encoded,
            labels=np.arange(ROWS) % 2,
            settings=settings,
            streams=SeedStreams.from_seed(3),
            placement=choose_placement("cpu", "auto", local_rank=processes.local_rank),
            history=history,
            on_step=on_step,
            snapshots=store,
            signals=SIGNALS,
            processes=processes,
        )


def run_out_of_memory(_: torch.nn.Module, inputs: tuple[FlatBatch]) -> None:
    """Fail as a CPU's allocator would, if three rows were too much."""
    if len(inputs[0].first) > 2:
        raise RuntimeError("can't allocate memory")


def weights(model: Classifier) -> NDArray[np.float32]:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()


def compare(quiet: Path, noisy: Path, out: Path, processes: Processes) -> None:
    """Train without dropout, with it, and with it and an interruption; keep everything in `out`/RANK.npz."""
    out.mkdir(exist_ok=True)
    encoded, cpu = random_rows(), choose_placement("cpu", "auto")
    model, history = load(quiet, encoded), list[StepReport]()
    result = train(model, encoded, processes, history=history)
    kept = {
        "weights": weights(model),
        "unused": model.get_parameter("unused").detach().numpy(),
        "losses": np.array([line.loss for line in history]),
        "norms": np.array([line.gradient_norm for line in history]),
        "steps_and_tokens": np.array([result.steps, result.tokens]),
        "alone": predict(model, encoded, batch_size=4, placement=cpu),
        "shared": predict(model, encoded, batch_size=4, placement=cpu, processes=processes),
        "one_batch": predict(model, encoded, batch_size=ROWS, placement=cpu, processes=processes),
    }
    model, history = load(quiet, encoded), list[StepReport]()
    model.whole.base_model.embeddings.requires_grad_(False)
    train(model, encoded, processes, history=history, **WAYS)
    kept["ways"] = np.array([line.loss for line in history])
    model, seeds = load(noisy, encoded), list[int]()
    train(model, encoded, processes, history=[], seeds=seeds)
    kept |= {"noisy": weights(model), "seeds": np.array(seeds, dtype=np.uint64)}
    if processes.count > 1:
        model, code, where = load(noisy, encoded), 0, ""
        try:
            train(model, encoded, processes, history=[], snapshots=out / "snapshots", stopped_by=1)
        except Stopped as stop:
            code, where = stop.exit_code, str(stop)
        model = load(noisy, encoded)
        result = train(model, encoded, processes, history=[], snapshots=out / "snapshots")
        kept |= {"resumed": weights(model), "code": np.array(code), "where": np.array(where)}
        kept["resumed_at"] = np.array(result.resumed_at)
        model = load(quiet, encoded)
        if not processes.leads:
            model.register_forward_pre_hook(run_out_of_memory)
        result = train(model, encoded, processes, history=[])
        kept |= {"little_memory": weights(model), "parts": np.array(result.accumulation)}
    np.savez(out / f"{processes.rank}.npz", **kept)  # type: ignore[arg-type]


if __name__ == "__main__":
    with Processes.from_environment() as found:
        assert found is not ALONE
        compare(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), found)
