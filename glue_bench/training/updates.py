"""The updates of a training: which rows, which learning rate, what the history says; and their state for snapshots."""

import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import DivergedError
from glue_bench.models.classifier import Classifier
from glue_bench.models.packing import Packed
from glue_bench.models.placement import Layout, Placement, is_out_of_memory, release_memory
from glue_bench.models.trainable import trained
from glue_bench.training.checkpoint import Snapshot
from glue_bench.training.course import StepReport, rate_share
from glue_bench.training.distributed import ALONE, Processes, SharedGradients
from glue_bench.training.optimizer import IGNORED, Graphs, Labels, Loss, choose_way, may_capture

logger = logging.getLogger(__name__)


class Updates:
    """A model in training. Between two updates its whole state is a `Snapshot`.

    Everything stays on the device, at the same addresses, and `_make` reads all that differs between updates from a
    batch: so its kernels can be captured.
    """

    def __init__(
        self,
        model: Classifier,
        encoded: Encoded,
        *,
        labels: Labels,
        settings: TrainerConfig,
        placement: Placement,
        processes: Processes = ALONE,
    ) -> None:
        """Prepare the rows, with (n,) class codes or scores, of which each process trains on its share of a batch."""
        self.per_epoch = math.ceil(len(encoded) / settings.batch_size)
        self.total = settings.updates or self.per_epoch * settings.epochs
        self.epochs = math.ceil(self.total / self.per_epoch)  # begun, unless patience ends before
        self.done = self.tokens = 0
        self.micro_batches = settings.accumulation  # that a batch is split into
        self._model, self.settings, self._placement = model, settings, placement
        self._packer, self._lengths = model.place(encoded, placement.device), encoded.lengths()
        self.tokens_per_epoch = int(self._lengths.sum())
        self._layout = placement.layout(self._lengths, rows=settings.batch_size) if model.flat else Layout()
        self._labels, self.processes = labels, processes
        self._own = slice(processes.rank, None, processes.count)  # this process's rows of a batch
        self._shared = SharedGradients(model.parameters(), processes) if processes.count > 1 else None
        self._forward, self.optimizer, self.kernels = choose_way(
            model, settings, packer=self._packer, updates=self.total, placement=placement, alone=processes.count == 1
        )
        self._loss = Loss(labels, outputs=model.config.num_labels or 1, settings=settings, device=placement.device)
        # The sum of the losses since the last line of the history, and the norm of the last gradient, before clipping.
        self._tally = torch.zeros(2, device=placement.device)
        self.history = list[StepReport]()
        self.on_step: Callable[[StepReport], None] = lambda _: None  # called for every line, also if it is not kept
        self._loss_steps = 0  # updates since the last line of the history
        # What is known of lines whose tally is on its way to the host, the tally, when it is there, how many losses it
        # sums up, and whether the line belongs to the history.
        self._unread = list[tuple[dict[str, Any], Tensor, torch.cuda.Event | None, int, bool]]()
        captured = may_capture(model, settings, placement=placement, processes=processes)
        self.graphs = Graphs(self._make, placement=placement) if captured else None

    @property
    def epoch(self) -> int:
        """The epoch of the last update, from 1."""
        return self.epochs_after(self.done)[0]

    def epochs_after(self, step: int) -> tuple[int, int]:
        """Return how many epochs have begun and how many have ended after `step` updates."""
        begun = math.ceil(step / self.per_epoch)
        return begun, begun if step == self.total else step // self.per_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the last update was the last of an epoch."""
        return self.done in (self.epoch * self.per_epoch, self.total)

    @property
    def ends_line(self) -> bool:
        """Whether the history gets a line after the last update."""
        last = self.done == self.total or (self.settings.patience is not None and self.ends_epoch)
        return self.done % self.settings.log_every == 0 or last or self.is_scored

    @property
    def is_scored(self) -> bool:
        """Whether the dev set is scored after the last update."""
        if (every := self.settings.eval_every) == "epoch":
            return self.ends_epoch
        return every is not None and (self.done % int(every) == 0 or self.done == self.total)

    def batches(self, *, order: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of every remaining update, in the order that the seed stream `order` gives each epoch."""
        how = {"batch_size": self.settings.batch_size, "seed": order}
        every = (shuffled_batches(len(self._lengths), epoch=epoch, **how) for epoch in range(self.epochs))
        return itertools.islice(itertools.chain.from_iterable(every), self.done, self.total)

    def update(self, batch: NDArray[np.int64], *, seed: int) -> None:
        """Make the next update, on the rows `batch`, with a seed of dropout for this update and process.

        If memory is too small, this and later batches are split into twice as many micro-batches; on a GPU, which
        others may use for a moment, only if it still is after all free memory was given back.
        """
        retried = not self._placement.asynchronous
        while True:
            packed = self._pack(batch, seed=seed)
            if self.graphs and self.micro_batches == 1 and self.graphs.replay(packed[0], seed=seed):
                break
            self._placement.seed(seed)
            try:
                self.optimizer.zero(micro_batches=len(packed))
                loss = self._add_gradients(each.to(self._placement.device) for each in packed)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or (retried and self.micro_batches >= len(batch[self._own])):
                    raise
            else:
                kind = torch.float32 if self._placement.asynchronous else torch.float64  # of buffers, and CUDA's AdamW
                scalars = torch.tensor(self._numbers(), dtype=kind)
                if self._tally.is_cuda:
                    scalars = scalars.pin_memory().to("cuda", non_blocking=True)
                self._apply(loss, scalars)
                break
            # Outside of the except block, because its traceback keeps the failed attempt's tensors alive.
            self.optimizer.zero()
            if self.graphs:
                self.graphs.give_up("out of memory")
            release_memory(self._placement.device)
            if retried:
                self.micro_batches = min(2 * self.micro_batches, self.settings.batch_size)
                words = "out of memory at update %d: using %d micro-batches from now on"
                logger.warning(words, self.done, self.micro_batches)
            retried = True
        self._loss_steps += 1
        self.tokens += int(self._lengths[batch].sum())
        self.done += 1

    def _make(self, packed: Packed) -> None:
        """Make an update with a batch on the device."""
        self.optimizer.zero()
        self._apply(self._add_gradients([packed]), packed.views()["scalars"])

    def _add_gradients(self, micro_batches: Iterable[Packed]) -> Tensor:
        """Add up the gradients of micro-batches; return the sum of their losses, on the device."""
        total = torch.zeros((), device=self._placement.device)
        for micro_batch in micro_batches:
            views = micro_batch.views()
            with self._placement.autocast():
                logits = self._forward(self._packer.unpack(micro_batch))
            loss = self._loss(logits.float(), views["targets"], present=views["present"]) / views["count"][0]
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _apply(self, loss: Tensor, scalars: Tensor) -> None:
        self._tally[0].add_(self._shared.sum_with(loss) if self._shared else loss)
        self._tally[1].copy_(self.optimizer.apply(scalars))

    def report(self, *, seconds: float) -> None:
        """Report what is due, and add lines to the history: on a GPU one line late, so as not to wait.

        On a CPU every update is reported, elsewhere only what is a line of the history. A DivergedError, here and in
        `catch_up`, if a loss or a norm is not finite.
        """
        late = self._placement.asynchronous
        if late and not self.ends_line:
            return
        known: dict[str, Any] = {"step": self.done, "steps": self.total, "epoch": self.epoch}
        known |= {"learning_rate": self._rate(self.done - 1), "tokens_per_second": self.tokens / seconds}
        on_gpu = self._tally.is_cuda
        values = torch.empty(2, pin_memory=on_gpu).copy_(self._tally, non_blocking=on_gpu)
        copied = torch.cuda.current_stream().record_event() if on_gpu else None
        self._unread.append((known, values, copied, self._loss_steps, self.ends_line))
        if self.ends_line:
            self._tally[0].zero_()
            self._loss_steps = 0
        self.catch_up(unread=int(late))

    def catch_up(self, *, unread: int = 0) -> None:
        """Read and report what has not been read of the history, but for the last `unread` lines."""
        while len(self._unread) > unread:
            known, values, copied, updates, kept = self._unread.pop(0)
            if copied:
                copied.synchronize()
            loss_sum, norm = values.tolist()
            line = StepReport(**known, loss=loss_sum / updates, gradient_norm=norm)
            self._check(loss_sum, norm, step=line.step)
            if kept:
                self.history.append(line)
            self.on_step(line)

    def check_finite(self) -> None:
        """Catch up; a DivergedError if a loss since the last line, or the norm of the last update, is not finite."""
        self.catch_up()
        self._check(*self._tally.tolist(), step=self.done)

    def _check(self, loss_sum: float, norm: float, *, step: int) -> None:
        if not (math.isfinite(loss_sum) and math.isfinite(norm)):
            advice = "a lower trainer.learning_rate or a longer trainer.warmup may help"
            found = f"loss {loss_sum}, gradient norm {norm}"
            raise DivergedError(f"diverged at update {step} of {self.total}: {found}; {advice}")

    def untouched_decay(self, steps: int) -> float:
        """Return the factor by which `steps` updates shrink a row of the embedding table that never has a gradient."""
        words: Any = self._model.whole.base_model.get_input_embeddings()  # type: ignore[operator]
        layers = int(getattr(self._model.config, "num_hidden_layers", 0))
        share = self.settings.layer_decay ** (layers + 1) if words.weight.requires_grad else 0.0
        return math.prod(1 - self._rate(step) * share * self.settings.weight_decay for step in range(steps))

    def _rate(self, step: int) -> float:
        return self.settings.learning_rate * rate_share(self.settings, step, total=self.total)

    def capture(self, metadata: Mapping[str, Any]) -> Snapshot:
        """Return everything that later updates depend on, with the caller's own metadata."""
        self.optimizer.settle()
        tensors = {f"model.{name}": value.detach() for name, value in trained(self._model).items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        tensors["loss_sum"] = self._tally[0].clone()
        own = {"parts": self.micro_batches, "tokens": self.tokens, "loss_steps": self._loss_steps}
        return Snapshot(step=self.done, tensors=tensors, metadata={**own, **metadata})

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from what `capture` returned."""
        metadata = snapshot.metadata
        self._tally[0].copy_(snapshot.tensors["loss_sum"])
        self._model.load_state_dict(snapshot.part("model."), strict=False)  # of what is trained
        self.optimizer.restore(snapshot.part("optimizer."))
        self.micro_batches = max(self.micro_batches, metadata["parts"])
        self.done, self.tokens, self._loss_steps = snapshot.step, metadata["tokens"], metadata["loss_steps"]

    def _pack(self, batch: NDArray[np.int64], *, seed: int) -> list[Packed]:
        """Return the micro-batches of this process's share of a batch; none if it has no row.

        Beside B rows they hold `targets`, (B,) class codes, IGNORED for absent rows, or float32 scores; `present`, (B,)
        float32, 1 for a row and 0 for an absent one; `count`, (1,) float32, what the loss of the whole batch is divided
        by; `seed`; and `scalars`, as `TorchAdamW.apply` takes them, in float32.
        """
        ordered = batch[np.argsort(-self._lengths[batch], kind="stable")]  # rows of similar length share a block
        own = ordered[self._own]  # equal work for every process
        common = {"count": np.array([self._loss.weight(self._labels[batch])], np.float32)}
        common["scalars"] = np.array(self._numbers(), np.float32)
        whole = self.micro_batches == 1 and self.processes.count == 1
        layout = self._layout if whole else dataclasses.replace(self._layout, rows=None)
        packed = []
        for number, rows in enumerate(np.array_split(own, min(self.micro_batches, len(own))) if len(own) else ()):
            filled = layout.rows or len(rows)
            targets = np.full(filled, IGNORED, np.float32 if self._labels.dtype.kind == "f" else np.int32)
            targets[: len(rows)] = self._labels[rows]
            present = (np.arange(filled) < len(rows)).astype(np.float32)
            own_seed = np.array([(seed + number) % 2**63], np.uint64).view(np.int32)
            extras = {"targets": targets, "present": present, "seed": own_seed, **common}
            packed.append(self._packer.pack(rows, layout=layout, extras=extras))
        return packed

    def _numbers(self) -> list[float]:
        """Return the scalars of the next update, as an optimiser takes them."""
        return [self._rate(self.done), *(1 - beta ** (self.done + 1) for beta in self.settings.betas)]


def shuffled_batches(rows: int, *, batch_size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yield every row once, in an order that depends only on (seed, epoch); the last batch may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]
