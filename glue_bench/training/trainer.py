"""Fit and predict: one loop for every task. A fit can stop after any update and later continue as if it had not.

Knows no task names. An update is a batch of `batch_size` rows, in however many micro-batches.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import DivergedError
from glue_bench.models.classifier import Classifier, Rows
from glue_bench.models.placement import Placement, is_out_of_memory, release_memory
from glue_bench.training.checkpoint import Snapshot, SnapshotStore, SnapshotTimer
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.seeds import SeedStreams, dropout_seed
from glue_bench.training.selection import BestEpoch
from glue_bench.training.stopping import StopSignals
from glue_bench.training.updates import StepReport, Updates


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What training did."""

    steps: int
    epochs: int  # begun
    tokens: int  # real tokens that went through the model
    seconds: float  # of training
    earlier: float  # those of them that interrupted processes spent
    accumulation: int  # micro-batches of a batch in the end: more than asked for where memory was too small
    resumed_at: list[int]  # updates that were done whenever the training continued from a snapshot
    untouched_decay: float  # the factor that is left of a decaying weight that never had a gradient


class TrainingClock:
    """Seconds of training: with those of interrupted processes, without those of scoring epochs."""

    def __init__(self) -> None:
        """Start."""
        self._began, self.earlier = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._began

    def add_earlier(self, seconds: float) -> None:
        """Count what interrupted processes spent."""
        self.earlier, self._began = seconds, self._began - seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context that does not count."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began


def fit(
    model: Classifier,
    encoded: Encoded,
    *,
    labels: NDArray[np.int64] | NDArray[np.float64],
    settings: TrainerConfig,
    streams: SeedStreams,
    placement: Placement,
    history: list[StepReport],
    on_step: Callable[[StepReport], None] = lambda _: None,
    snapshots: SnapshotStore | None = None,
    signals: StopSignals | None = None,
    selection: BestEpoch | None = None,
    processes: Processes = ALONE,
) -> FitResult:
    """Train in place, from the newest snapshot if there is one.

    Rows are ordered by `streams` and the epoch, dropout by `streams` and the update, and nothing else is random: with
    deterministic kernels, as on a CPU, an interrupted training ends with the weights of one that was not.

    Args:
        labels: (n,) class codes or scores.
        history: gets a line every `log_every` updates, as they happen, so that a run that stops early keeps them.
        on_step: called after every update on a CPU, and every `log_every` on a GPU (a report waits for the device).
        snapshots: where to write one when it is due, and before stopping; of several processes the first has them.
        signals: ask one of the processes to stop, and all do. On a GPU they look every `log_every` updates.
        selection: scores every epoch; the model ends with the weights that it chose.
        processes: train together, each on its share of every batch.

    Raises:
        DivergedError: the loss or the gradient became NaN or infinite.
        DiskError: a snapshot cannot be written.
        Stopped: `signals` asked to, and the snapshot is kept.
        LostError: one of the other processes has ended.
    """
    model.to(placement.device).train()
    updates = Updates(model, encoded, labels=labels, settings=settings, placement=placement, processes=processes)
    keeper = _Keeper(updates, snapshots, history=history, selection=selection, processes=processes)
    keeper.resume()
    timer = SnapshotTimer(settings.snapshot_minutes)
    with placement.own_randomness(), placement.algorithms():
        for batch in updates.batches(order=streams.order):
            updates.update(batch, seed=dropout_seed(streams.dropout, updates.done, rank=processes.rank))
            if reported := updates.ends_line or placement.device.type == "cpu":
                on_step(updates.report(history, seconds=keeper.clock.seconds))
            if selection is not None and updates.ends_epoch:
                with keeper.clock.paused():
                    selection.end_epoch(updates.done)
                    model.train()
            stopping, due = signals.pending if signals else 0, int(timer.is_due(last=updates.done == updates.total))
            if processes.count > 1:  # no process stops, or looks for divergence, unless all do
                stopping, due = processes.largest(stopping, due) if reported else (0, 0)
            if stopping or due:
                keeper.keep()
                timer.restart()
            if stopping and signals is not None:
                processes.meet()  # with the snapshot kept: torchrun ends all soon after one has ended
                signals.take_over(stopping)
                signals.obey(f" after update {updates.done} of {updates.total}{', snapshot kept' * bool(snapshots)}")
    return keeper.result()


class _Keeper:
    """Keeps and reads the snapshots of a training, with its clock, history and selection."""

    def __init__(
        self,
        updates: Updates,
        snapshots: SnapshotStore | None,
        *,
        history: list[StepReport],
        selection: BestEpoch | None,
        processes: Processes,
    ) -> None:
        self._updates, self._snapshots, self._history = updates, snapshots, history
        self._selection, self._processes = selection, processes
        self.clock, self.resumed_at = TrainingClock(), list[int]()

    def resume(self) -> None:
        """Continue from the newest snapshot; the first process sends it to the others, who may not see the folder."""
        found, share = self._snapshots.newest() if self._snapshots else None, self._processes.broadcast
        known = share((found.step, dict(found.metadata), list(found.tensors)) if found else None)
        if known is None:
            return
        step, metadata, names = known
        tensors = {name: share(found.tensors[name] if found else None) for name in names}  # one by one: they are large
        snapshot = Snapshot(step=step, tensors=tensors, metadata=metadata)
        self._updates.restore(snapshot)
        if self._selection is not None:
            self._selection.restore(snapshot)
        self.clock.add_earlier(float(metadata["seconds"]))
        self._history[:] = [StepReport(**line) for line in metadata["history"]]
        self.resumed_at = [*metadata["resumed_at"], step]

    def keep(self) -> None:
        """Write a snapshot; never one of NaN weights."""
        self._updates.check_finite()
        if self._snapshots is not None:
            lines = [dataclasses.asdict(line) for line in self._history]
            metadata = {"seconds": self.clock.seconds, "history": lines, "resumed_at": self.resumed_at}
            snapshot = self._updates.capture(metadata)
            self._snapshots.save(self._selection.add_to(snapshot) if self._selection else snapshot)

    def result(self) -> FitResult:
        """Sum up, with the chosen weights in the model."""
        updates, selection = self._updates, self._selection
        if selection is not None:
            selection.put_back()
        return FitResult(
            steps=updates.done,
            epochs=updates.epochs,
            tokens=updates.tokens,
            seconds=self.clock.seconds,
            earlier=self.clock.earlier,
            accumulation=self._processes.largest(updates.micro_batches)[0],
            resumed_at=self.resumed_at,
            untouched_decay=updates.untouched_decay(selection.selected.step if selection else updates.total),
        )


@torch.inference_mode()
def predict(
    model: Classifier,
    encoded: Encoded,
    *,
    batch_size: int,
    placement: Placement,
    on_batch: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
) -> NDArray[np.float32]:
    """The logits of every row, in the rows' order: (n, outputs) float32.

    Whole batches are dealt to the processes: a row's logits do not depend on how many there are.

    Args:
        on_batch: called before every batch of this process.
        processes: evaluate together.

    Raises:
        DivergedError: a logit is NaN or infinite.
        LostError: one of the other processes has ended.
    """
    model.to(placement.device).eval()
    batches = list(length_sorted_batches(encoded.lengths(), batch_size=batch_size))[processes.rank :: processes.count]
    rows = model.place(encoded, placement.device)
    parts = list[Tensor]()
    with placement.algorithms():
        for batch in batches:
            on_batch()
            parts += _logits(model, rows, batch=batch, placement=placement)
    found = np.zeros((len(encoded), (model.config.num_labels or 1) + 1), dtype=np.float32)
    if batches:
        order = np.concatenate(batches)
        found[order, :-1] = torch.cat(parts).cpu().numpy()  # longest row first
        np.add.at(found[:, -1], order, 1)  # how often a row was seen
    processes.add_up(torch.from_numpy(found))  # in place
    if not (found[:, -1] == 1).all():
        raise AssertionError("evaluation must see every row exactly once")
    logits = np.ascontiguousarray(found[:, :-1])
    if not np.isfinite(logits).all():
        raise DivergedError("diverged: the trained model gives NaN or infinite logits")
    return logits


def _logits(model: Classifier, rows: Rows, *, batch: NDArray[np.int64], placement: Placement) -> Iterator[Tensor]:
    """The logits of a batch; in halves where memory is too small for the whole."""
    try:
        with placement.autocast():
            logits = model(rows.gather(batch)).float()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or len(batch) == 1:
            raise
    else:
        yield logits
        return
    release_memory(placement.device)
    for half in np.array_split(batch, 2):
        yield from _logits(model, rows, batch=half, placement=placement)


def length_sorted_batches(lengths: NDArray[np.int64], *, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Every row once, neighbours of nearly equal length together, longest first."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
