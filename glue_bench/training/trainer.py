"""Fit and predict: one loop for every task, that can stop after any update and go on as if it had not.

Knows no task names. An update is a batch of `batch_size` rows, whatever number of parts goes through the model.
"""

import itertools
import math
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
from glue_bench.models.batches import length_sorted_batches, shuffled_batches
from glue_bench.models.classifier import Classifier, Rows
from glue_bench.models.placement import Placement, is_out_of_memory, release_memory
from glue_bench.training.checkpoint import Snapshot, SnapshotStore
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.optimisation import untouched_decay
from glue_bench.training.seeds import Streams
from glue_bench.training.selection import BestEpoch
from glue_bench.training.stopping import StopSignals
from glue_bench.training.updates import StepReport, Updates, history_facts

_WORTH_KEEPING = 60  # seconds of training


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What training did."""

    steps: int
    epochs: int  # begun
    tokens: int  # real tokens that went through the model
    seconds: float  # of training
    earlier: float  # those of them that an interrupted process spent
    accumulation: int  # parts of a batch in the end: more than asked for where memory was too small
    resumed_at: list[int]  # updates that were done whenever the training went on from a snapshot
    untouched_decay: float  # what is left of a decaying weight that never had a gradient


def fit(
    model: Classifier,
    encoded: Encoded,
    *,
    labels: NDArray[np.int64] | NDArray[np.float64],
    settings: TrainerConfig,
    streams: Streams,
    placement: Placement,
    history: list[StepReport],
    on_step: Callable[[StepReport], None] = lambda _: None,
    snapshots: SnapshotStore | None = None,
    signals: StopSignals | None = None,
    selection: BestEpoch | None = None,
    processes: Processes = ALONE,
) -> FitResult:
    """Train in place, from the newest snapshot if there is one.

    The order of rows depends on `streams` and the epoch, dropout on `streams` and the update; nothing else is drawn:
    with deterministic kernels, as on a CPU, an interrupted training ends with the weights of one that was not.

    Args:
        labels: (n,) class codes or scores.
        history: gets a line every `log_every` updates, as they happen, so that a run that stops early keeps them.
        on_step: told of every update on a CPU, and every `log_every` on a GPU (a report waits for the device).
        snapshots: written every `snapshot_minutes`, before stopping, and at the end if much would be lost otherwise;
            of several processes the first alone has them.
        signals: what may ask to stop: any of the processes, and all do. On a GPU they look every `log_every` updates.
        selection: told of the end of every epoch; its choice of weights is the model's in the end.
        processes: which train together, each with its share of every batch.

    Raises:
        DivergedError: the loss or the gradient became NaN or infinite.
        DiskError: a snapshot cannot be written.
        Stopped: `signals` asked to, and the snapshot is kept.
        LostError: one of the other processes has ended.
    """
    per_epoch = math.ceil(len(encoded) / settings.batch_size)
    total = settings.updates or per_epoch * settings.epochs
    model.to(placement.device).train()
    updates = Updates(model, encoded, labels, settings=settings, placement=placement, total=total, processes=processes)
    clock, done, earlier, resumed_at = time.perf_counter(), 0, 0.0, list[int]()
    snapshot = _newest(snapshots, processes)
    if snapshot is not None:
        updates.restore(snapshot)
        if selection is not None:
            selection.restore(snapshot)
        done, earlier = snapshot.step, float(snapshot.facts["seconds"])
        clock -= earlier
        history[:] = [StepReport(**line) for line in snapshot.facts["history"]]
        resumed_at = [*snapshot.facts["resumed_at"], done]

    def keep() -> None:
        if snapshots is not None:
            seconds = time.perf_counter() - clock
            facts = {"seconds": seconds, "history": history_facts(history), "resumed_at": resumed_at}
            captured = updates.capture(done, facts)
            snapshots.save(selection.add_to(captured) if selection else captured)

    kept, interval = time.perf_counter(), 60 * settings.snapshot_minutes
    devices = [placement.device] if placement.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), placement.algorithms():
        for epoch, batch in _batches(len(encoded), settings, order=streams.order, first=done, total=total):
            norm = updates.update(batch, done, seed=_mix(streams.dropout, done, processes.rank))
            done += 1
            log, seconds = done % settings.log_every == 0 or done == total, time.perf_counter() - clock
            if log or placement.device.type == "cpu":
                line = updates.report(done, epoch + 1, norm, seconds=seconds)
                on_step(line)
                if log:
                    history.append(line)
                    updates.start_line()
            if selection is not None and (done % per_epoch == 0 or done == total):
                began = time.perf_counter()
                selection.end_epoch(done)
                model.train()
                clock += time.perf_counter() - began  # no training
            stopping, unsaved = signals.pending if signals else 0, time.perf_counter() - kept
            ending = done == total and unsaved > _WORTH_KEEPING  # what comes after training may fail
            due = int(ending or 0 < interval < unsaved)
            if processes.count > 1:  # no process stops, or looks for divergence, unless all do
                told = log or placement.device.type == "cpu"
                stopping, due = processes.largest(stopping, due) if told else (0, 0)
            if stopping or due:
                updates.check_finite(done, norm)  # what must not be kept
                keep()
                kept = time.perf_counter()
            if stopping and signals is not None:
                processes.meet()  # once the snapshot is kept: torchrun ends all soon after one has ended
                signals.take_over(stopping)
                signals.obey(f" after update {done} of {total}" + (", snapshot kept" if snapshots else ""))
    if selection is not None:
        selection.put_back()
    return FitResult(
        steps=done,
        epochs=math.ceil(total / per_epoch),
        tokens=updates.tokens,
        seconds=time.perf_counter() - clock,
        earlier=earlier,
        accumulation=processes.largest(updates.parts)[0],
        resumed_at=resumed_at,
        untouched_decay=untouched_decay(
            selection.selected.step if selection else total,
            total=total,
            warmup=updates.warmup,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        ),
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
        on_batch: told of every batch of this process.
        processes: which evaluate together.

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
            parts += _logits(model, rows, batch, placement)
    found = np.zeros((len(encoded), (model.config.num_labels or 1) + 1), dtype=np.float32)
    if batches:
        order = np.concatenate(batches)
        found[order, :-1] = torch.cat(parts).cpu().numpy()  # longest row first
        np.add.at(found[:, -1], order, 1)  # how often a row was seen
    found = processes.sum_array(found)
    if not (found[:, -1] == 1).all():
        raise AssertionError("evaluation must see every row exactly once")
    logits = np.ascontiguousarray(found[:, :-1])
    if not np.isfinite(logits).all():
        raise DivergedError("diverged: the trained model gives NaN or infinite logits")
    return logits


def _logits(model: Classifier, rows: Rows, batch: NDArray[np.int64], placement: Placement) -> Iterator[Tensor]:
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
        yield from _logits(model, rows, half, placement)


def _batches(
    rows: int, settings: TrainerConfig, *, order: int, first: int, total: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Epoch (from 0) and rows of every update from number `first` up to `total`."""
    per_epoch = math.ceil(rows / settings.batch_size)
    for epoch in range(first // per_epoch, math.ceil(total / per_epoch)):
        batches = shuffled_batches(rows, batch_size=settings.batch_size, seed=order, epoch=epoch)
        for batch in itertools.islice(batches, max(0, first - epoch * per_epoch), total - epoch * per_epoch):
            yield epoch, batch


def _newest(snapshots: SnapshotStore | None, processes: Processes) -> Snapshot | None:
    """The newest snapshot; the first process reads it and sends it to the others, who may not see the folder."""
    found = snapshots.newest() if snapshots else None
    if processes.count == 1:
        return found
    known = processes.broadcast(None if found is None else (found.step, dict(found.facts)))
    if known is None:
        return None
    tensors = processes.broadcast_tensors({} if found is None else found.tensors)
    return Snapshot(step=known[0], tensors=tensors, facts=known[1])


def _mix(seed: int, step: int, rank: int) -> int:
    """One 64-bit seed from a stream, an update and a process; the first process has the seeds of one alone."""
    numbers = [seed, step, *([rank] if rank else [])]
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
