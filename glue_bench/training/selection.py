"""Which epoch's weights are kept. Knows no tasks, no files."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from glue_bench.models.trainable import trained
from glue_bench.training.checkpoint import Snapshot


class SelectionFacts(TypedDict):
    """What a snapshot says of a selection, whose best weights are among its tensors."""

    epoch: int  # of these weights, from 1; 0 before the end of the first
    step: int  # updates done by its end
    scores: list[float | None]  # of the epochs so far, None for NaN or infinity


class BestEpoch:
    """Keeps the weights of the epoch with the highest score; the earlier epoch wins a tie."""

    def __init__(
        self, model: nn.Module, score: Callable[[], float], *, on: str, rows: int, patience: int | None = None
    ) -> None:
        """Watch `model` in training.

        `score` scores the current weights on `rows` rows of `on`; higher is better, NaN is worst. After `patience`
        epochs without a better score training is `over`; None: it never is.
        """
        self._model, self._score, self._on, self._rows, self._patience = model, score, on, rows, patience
        self._weights = dict[str, Tensor]()  # on the CPU: a device may have no room for them
        self.epoch, self.step, self.scores = 0, 0, list[float | None]()  # as in `SelectionFacts`

    @property
    def selected(self) -> dict[str, Any]:
        """The best of the epochs so far, of which there is one or more, and how it was chosen, for the record.

        That is `SelectionFacts`, its `score`, and on how many `rows` it was chosen, `on` validation or holdout.
        """
        best = {"epoch": self.epoch, "step": self.step, "on": self._on, "rows": self._rows}
        return {**best, "score": self.scores[self.epoch - 1], "scores": [*self.scores]}

    @property
    def over(self) -> bool:
        """Whether patience is at an end."""
        return self._patience is not None and len(self.scores) - self.epoch >= self._patience

    def end_epoch(self, step: int) -> None:
        """Score the epoch that ended with update `step`, and keep its weights if it is the best."""
        score, best = self._score(), self.scores[self.epoch - 1] if self.scores else None
        self.scores.append(score if math.isfinite(score) else None)
        if not self._weights or score > (-math.inf if best is None else best):
            self.epoch, self.step = len(self.scores), step
            weights = trained(self._model).items()
            self._weights = {name: value.detach().to("cpu", copy=True) for name, value in weights}

    def add_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with the state of the selection added, for `restore`."""
        own: SelectionFacts = {"epoch": self.epoch, "step": self.step, "scores": self.scores}
        tensors = {**snapshot.tensors, **{f"selected.{name}": value for name, value in self._weights.items()}}
        return dataclasses.replace(snapshot, tensors=tensors, metadata={**snapshot.metadata, "selection": own})

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from what `add_to` stored."""
        own: SelectionFacts = snapshot.metadata["selection"]
        self.epoch, self.step, self.scores = own["epoch"], own["step"], [*own["scores"]]
        self._weights = snapshot.part("selected.")

    def put_back(self) -> None:
        """Give the model the weights of the best epoch."""
        with torch.no_grad():
            for name, parameter in trained(self._model).items():
                parameter.copy_(self._weights[name])
