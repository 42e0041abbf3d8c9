"""Fit and predict: one loop for every task. A fit can stop after any update and later continue as if it had not.

Knows no task names. An update is a batch of `batch_size` rows, in one or more micro-batches.
"""

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import DivergedError
from glue_bench.models.classifier import Classifier
from glue_bench.models.packing import Packer
from glue_bench.models.placement import Layout, Placement, is_out_of_memory, release_memory
from glue_bench.reading import conform
from glue_bench.training.checkpoint import BestEpoch, SelectionMetadata, Snapshot, SnapshotStore, check_tensors
from glue_bench.training.course import SeedStreams, StepReport, dropout_seed
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.optimizer import Labels
from glue_bench.training.stopping import StopSignals
from glue_bench.training.updates import Updates

_TOKENS = 16_384  # of a batch in evaluation on an NVIDIA GPU
_LONGEST = 1e9  # seconds of a training: thirty years
_MEASURED = ("loss", "learning_rate", "gradient_norm", "tokens_per_second")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What training did."""

    steps: int
    epochs: int  # begun
    stopped: bool  # whether patience ended it before its last update
    tokens: int  # real tokens that went through the model
    seconds: float  # of training
    earlier: float  # those of them spent by interrupted processes
    accumulation: int  # micro-batches of a batch in the end: more than asked for where memory was too small
    resumed_at: list[int]  # updates done at each start from a snapshot
    untouched_decay: float  # the factor by which a decaying weight without any gradient shrank
    kernels: str  # whose they were
    graph: str  # the captured shapes of updates, or why none


def fit(
    model: Classifier,
    encoded: Encoded,
    *,
    labels: Labels,
    settings: TrainerConfig,
    streams: SeedStreams,
    placement: Placement,
    history: list[StepReport],
    on_step: Callable[[StepReport], None] = lambda _: None,
    snapshots: SnapshotStore | None = None,
    signals: StopSignals | None = None,
    selection: BestEpoch | None = None,
    score_dev: Callable[[], float] | None = None,
    processes: Processes = ALONE,
) -> FitResult:
    """Train in place, from the newest snapshot if there is one.

    Rows are ordered by `streams` and the epoch, dropout by `streams` and the update, and nothing else is random: with
    deterministic kernels, as on a CPU, an interrupted fit ends with the weights of an uninterrupted one.

    Args:
        labels: (n,) class codes or scores.
        history: gets a line every `log_every` updates, as they happen, so that a run that stops early keeps them.
        on_step: called after every update on a CPU, and every `log_every` on a GPU, there with the line before.
        snapshots: where to write one when it is due, and before stopping; only the first process has them.
        signals: if one process gets one, all stop. On a GPU they are checked every `log_every` updates.
        selection: scores every epoch, and may end training; the model ends with the weights that it chose.
        score_dev: scores the current weights, whenever `settings.eval_every` says; the history's line gets the score.
        processes: those that train together, each on its share of every batch.

    A DivergedError if the loss or the gradient became NaN or infinite, a DiskError if a snapshot cannot be written,
    Stopped if `signals` asked to, and the snapshot is kept; a LostError if one of the other processes has ended.
    """
    model.to(placement.device).train()
    updates = Updates(model, encoded, labels=labels, settings=settings, placement=placement, processes=processes)
    updates.history, updates.on_step = history, on_step
    keeper = _Keeper(updates=updates, snapshots=snapshots, selection=selection, signals=signals)
    keeper.resume()
    gpus = [placement.device] if placement.device.type == "cuda" else []  # their seed streams are restored too
    with torch.random.fork_rng(gpus), placement.algorithms(), placement.own_stream():
        for batch in updates.batches(order=streams.order):
            if selection is not None and selection.over:
                break
            updates.update(batch, seed=dropout_seed(streams.dropout, updates.done, rank=processes.rank))
            updates.report(seconds=keeper.clock.seconds)
            keeper.score(model, dev=score_dev)
            if updates.ends_line or not placement.asynchronous or processes.count == 1:
                keeper.keep_if_due(settings.snapshot_minutes)
        updates.catch_up()
    return keeper.result()


class _Metadata(TypedDict):
    """The metadata of a snapshot."""

    parts: int
    tokens: int
    loss_steps: int
    seconds: float
    history: list[StepReport]
    resumed_at: list[int]
    selection: NotRequired[SelectionMetadata]


@dataclass(slots=True)
class _Clock:
    """What counts as training time."""

    earlier: float = 0.0  # seconds of interrupted processes
    began: float = field(default_factory=time.perf_counter)  # moved forward by each pause

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.began

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.began += time.perf_counter() - began


@dataclass(kw_only=True)
class _Keeper:
    """Keeps a training's snapshots when they are due, and reads them; with its clock, selection and signals."""

    updates: Updates
    snapshots: SnapshotStore | None
    selection: BestEpoch | None
    signals: StopSignals | None
    clock: _Clock = field(default_factory=_Clock)
    kept: float = field(default_factory=time.perf_counter)  # when the last snapshot was written
    resumed_at: list[int] = field(default_factory=list)

    def score(self, model: Classifier, *, dev: Callable[[], float] | None) -> None:
        """Score the dev set and the epoch, each if it is due; none of it counts as training."""
        updates = self.updates
        scored, ended = dev if updates.is_scored else None, self.selection if updates.ends_epoch else None
        if not (scored or ended):
            return
        updates.catch_up()
        with self.clock.paused():
            updates.optimizer.settle()
            if scored:
                updates.history[-1] = dataclasses.replace(updates.history[-1], dev=scored())
            if ended:
                ended.end_epoch(updates.done)
            model.train()

    def keep_if_due(self, minutes: float) -> None:
        """Write a snapshot if one is due, every `minutes` unless 0, or if a signal asks to stop, which is then obeyed.

        A training that has diverged gets none, but a DivergedError.
        No process stops, or checks for divergence, unless all do: all must call this after the same updates.
        """
        updates, signals, share = self.updates, self.signals, self.updates.processes.largest
        due = 0 < 60 * minutes < time.perf_counter() - self.kept
        stopping, due_somewhere = share(signals.pending if signals else 0, int(due))
        if stopping or due_somewhere:
            updates.check_finite()
            if self.snapshots is not None:
                seconds, lines = self.clock.seconds, [dataclasses.asdict(line) for line in updates.history]
                snapshot = updates.capture({"seconds": seconds, "history": lines, "resumed_at": self.resumed_at})
                self.snapshots.save(self.selection.add_to(snapshot) if self.selection else snapshot)
            self.kept = time.perf_counter()
        if stopping and signals is not None:
            share(0)  # wait for the snapshot: torchrun ends all soon after one has ended
            signals.pending = signals.pending or stopping
            kept = ", snapshot kept" if self.snapshots else ""
            signals.obey(f" after update {updates.done} of {updates.total}{kept}")

    def _check(self, snapshot: Snapshot, fresh: Snapshot) -> None:
        """Refuse a snapshot that this training, which begins as `fresh`, could not have reached."""
        metadata, step, updates, total = snapshot.metadata, snapshot.step, self.updates, self.updates.total
        conform(_Metadata, metadata, where="")
        begun, ended = updates.epochs_after(step)
        ended = ended if self.selection else 0  # that were scored
        check_tensors(snapshot, fresh.tensors, selected=ended > 0)
        if self.selection and "selection" not in metadata:
            raise ValueError("its selection is missing")
        own = metadata.get("selection", {"epoch": 0, "step": 0, "scores": []})
        chosen = min(own["epoch"] * updates.per_epoch, total)
        counts: list[tuple[str, float, float, float]] = [
            ("step", step, 1, total),
            ("loss_steps", metadata["loss_steps"], 0, step),
            ("parts", metadata["parts"], 1, updates.settings.batch_size),
            ("tokens", metadata["tokens"], step, begun * updates.tokens_per_epoch),
            ("seconds", metadata["seconds"], 0, _LONGEST),
            ("number of scores", len(own["scores"]), ended, ended),
            ("selection.epoch", own["epoch"], min(1, ended), ended),
            ("selection.step", own["step"], chosen, chosen),
        ]
        counts += [("resumed_at", each, 1, step) for each in metadata["resumed_at"]]
        for before, line in itertools.pairwise([{"step": 0}, *metadata["history"]]):
            counts += [("history", line["step"], before["step"] + 1, step)]
            counts += [("history's epoch", line["epoch"], 1, begun), ("history's steps", line["steps"], total, total)]
            counts += [(f"history's {key}", line[key], 0, sys.float_info.max) for key in _MEASURED]
        for name, value, low, high in counts:
            if not low <= value <= high:
                raise ValueError(f"its {name} is {value}; must be {low}" + (f" to {high}" if high != low else ""))

    def resume(self) -> None:
        """Continue from the newest snapshot; the first process sends it to the others, who may not see the folder."""
        share, found = self.updates.processes.broadcast, None
        if self.snapshots is not None:
            fresh = self.updates.capture({})  # here: an error in it must not make `newest` pass over a snapshot
            found = self.snapshots.newest(check=lambda snapshot: self._check(snapshot, fresh))
        known = share((found.step, dict(found.metadata), list(found.tensors)) if found else None)
        if known is None:
            return
        step, metadata, names = known
        tensors = {name: share(found.tensors[name] if found else None) for name in names}  # one by one: they are large
        snapshot = Snapshot(step=step, tensors=tensors, metadata=metadata)
        self.updates.restore(snapshot)
        if self.selection is not None:
            self.selection.restore(snapshot)
        self.clock.earlier = float(metadata["seconds"])
        self.updates.history[:] = [StepReport(**line) for line in metadata["history"]]
        self.resumed_at = [*metadata["resumed_at"], step]

    def result(self) -> FitResult:
        """Put the chosen weights into the model, and sum up."""
        updates, selection = self.updates, self.selection
        updates.optimizer.settle()
        if selection is not None:
            selection.put_back()
        return FitResult(
            steps=updates.done,
            epochs=updates.epoch,
            stopped=updates.done < updates.total,
            tokens=updates.tokens,
            seconds=self.clock.seconds,
            earlier=self.clock.earlier,
            accumulation=updates.processes.largest(updates.micro_batches)[0],
            resumed_at=self.resumed_at,
            untouched_decay=updates.untouched_decay(selection.step if selection else updates.total),
            kernels=updates.kernels,
            graph=str(updates.graphs or "off"),
        )


@torch.no_grad()  # in inference mode, autocast would cast the weights again for every batch
def predict(
    model: Classifier,
    encoded: Encoded,
    *,
    batch_size: int,
    placement: Placement,
    on_batch: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
) -> NDArray[np.float32]:
    """Return the logits of every row, in the rows' order: (n, outputs) float32.

    Each of the `processes` predicts whole batches: a row's logits do not depend on their number. `on_batch` is called
    before every batch of this process. A DivergedError if a logit is NaN or infinite; a LostError if a process ended.
    """
    model.to(placement.device).eval()
    lengths, on_gpu = encoded.lengths(), placement.device.type == "cuda"
    every = length_sorted_batches(lengths, batch_size=batch_size, tokens=_TOKENS if on_gpu else None)
    batches = list(every)[processes.rank :: processes.count]
    packer, layout = model.place(encoded, placement.device), placement.layout(lengths) if model.flat else Layout()
    parts = list[Tensor]()
    with placement.algorithms(), placement.autocast():  # which casts each weight once
        for batch in batches:
            on_batch()
            parts += _logits(model, packer, batch=batch, layout=layout)
    logits = np.zeros((len(encoded), model.config.num_labels or 1), dtype=np.float32)
    if batches:
        logits[np.concatenate(batches)] = torch.cat(parts).cpu().numpy()  # longest row first
    processes.add_up(torch.from_numpy(logits))  # in place
    if not np.isfinite(logits).all():
        raise DivergedError("diverged: the trained model gives NaN or infinite logits")
    return logits


def _logits(model: Classifier, packer: Packer, *, batch: NDArray[np.int64], layout: Layout) -> Iterator[Tensor]:
    """Yield the logits of a batch; in halves if memory is too small for the whole."""
    try:
        yield model(packer.gather(batch, layout=layout)).float()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or len(batch) == 1:
            raise
    release_memory(next(model.parameters()).device)
    for half in np.array_split(batch, 2):
        yield from _logits(model, packer, batch=half, layout=layout)


def length_sorted_batches(
    lengths: NDArray[np.int64], *, batch_size: int, tokens: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield every row once, rows of nearly equal length together, longest first.

    A batch has `batch_size` rows, or, if `tokens` are given, as many as fit into that many, padding included.
    """
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]])) if tokens else batch_size
        yield order[start : start + size]
        start += size
