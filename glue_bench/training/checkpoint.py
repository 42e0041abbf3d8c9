"""Crash-safe snapshots of training, and the weights of its best epoch, which are part of them. Knows no loop.

A snapshot is a folder, whole or absent, with the hashes of its files.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import math
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glue_bench.files import file_sha256, replace_folder_atomically
from glue_bench.models.trainable import trained
from glue_bench.reading import conform, read_json, whole_number
from glue_bench.text import first_line

FORMAT = 1
_ABANDONED = 3600  # seconds after which the writer of an unfinished snapshot must have died
_COUNT, _MOMENTS = "optimizer.step", ("optimizer.exp_avg", "optimizer.exp_avg_sq")
_TENSORS, _METADATA, _MANIFEST = "tensors.safetensors", "facts.json", "manifest.json"
_UNNAMED = {"products": "torch"}  # in manifests of earlier versions, which knew no others

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of training between two updates."""

    step: int  # updates done
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]  # everything that is not a tensor, as JSON

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix`, under the rest of their names."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}


class SnapshotStore:
    """The snapshots of one run: `step-0000000120/` and so on."""

    def __init__(
        self, folder: Path, *, belongs_to: Mapping[str, Any], check_owner: Callable[[], None] = lambda: None
    ) -> None:
        """Open a folder; nothing is created before something is saved.

        A snapshot without the strings and numbers of `belongs_to` is not usable. `check_owner` is called before
        anything is written or deleted; it raises if another worker has taken the run.
        """
        self._folder, self._belongs_to, self._check_owner = folder, dict(belongs_to), check_owner

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, then delete all but the newest two; a DiskError, if it cannot be written, deletes none."""
        self._check_owner()
        name = f"step-{snapshot.step:010d}"
        with replace_folder_atomically(self._folder / name) as target:
            try:
                save_file({name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}, target / _TENSORS)
            except SafetensorError as error:  # what it raises for a full disk
                raise OSError(errno.EIO, str(error)) from error
            content = json.dumps({"step": snapshot.step, **snapshot.metadata})
            (target / _METADATA).write_text(content, encoding="utf-8")
            hashes = {file: file_sha256(target / file) for file in (_TENSORS, _METADATA)}
            manifest = {"format": FORMAT, "belongs_to": self._belongs_to, "sha256": hashes}
            (target / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            self._check_owner()  # writing may take a while
        kept = [folder for folder in self._every() if folder.name <= name][:2]
        stale = {*self._every()} - {*kept}
        for part in self._folder.glob(".step-*"):
            with contextlib.suppress(OSError):
                stale |= {part} if time.time() - part.stat().st_mtime > _ABANDONED else set()
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)

    def newest(self, *, check: Callable[[Snapshot], None] = lambda _: None) -> Snapshot | None:
        """Return the newest snapshot that is usable, and for which `check` raises no error.

        A line is logged for every newer one.
        """
        for folder in self._every():
            try:
                check(snapshot := self._read(folder))
                return snapshot
            except Exception as error:  # damage takes many forms
                logger.warning("snapshot %s is not used: %s", folder, first_line(error))
        return None

    def _every(self) -> list[Path]:
        """Return the snapshots, newest first; whatever else lies there is not ours."""
        every = self._folder.glob("step-*")
        return sorted((path for path in every if whole_number(path.name[5:]) is not None), reverse=True)

    def _read(self, folder: Path) -> Snapshot:
        manifest = read_json(folder / _MANIFEST)
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, this glue-bench knows {FORMAT}")
        made_with = _UNNAMED | manifest["belongs_to"]
        for key, value in self._belongs_to.items():
            if made_with.get(key) != value:
                raise ValueError(f"it was made with {key} {made_with.get(key)}, not {value}")
        for name in (_TENSORS, _METADATA):
            if file_sha256(folder / name) != manifest["sha256"][name]:
                raise ValueError(f"{name} is damaged")
        metadata = read_json(folder / _METADATA)
        conform(int, step := metadata.pop("step"), where="step")
        if step != whole_number(folder.name[5:]):
            raise ValueError(f"it was made after update {step}")
        tensors = load_file(folder / _TENSORS)
        # In version 1, classifiers of BERT's and RoBERTa's families had an encoder and a head.
        renamed = {
            "encoder.transformer": "whole.bert" if "model.head.pooler.weight" in tensors else "whole.roberta",
            "head.pooler": "whole.bert.pooler.dense",
            "head.classifier": "whole.classifier",
            "head": "whole.classifier",
        }
        # Today's names have `whole.` in that place.
        before = re.compile(rf"^((?:model|selected|optimizer\.\w+)\.)({'|'.join(map(re.escape, renamed))})(?=\.)")
        of_today = {before.sub(lambda old: old[1] + renamed[old[2]], name): value for name, value in tensors.items()}
        return Snapshot(step=step, tensors=of_today, metadata=metadata)


def products_of_newest(folder: Path) -> str:
    """Return whose matrix products made a folder's newest snapshot; empty where none says it."""
    with contextlib.suppress(Exception):  # damage takes many forms
        newest = SnapshotStore(folder, belongs_to={})._every()[0]
        return str((_UNNAMED | read_json(newest / _MANIFEST)["belongs_to"])["products"])
    return ""


def check_tensors(snapshot: Snapshot, begun: Mapping[str, Tensor], *, selected: bool) -> None:
    """Refuse, by a ValueError, tensors that no training which began with those of `begun` can reach.

    A weight has a state of the optimizer from its first gradient on: one that has none is as it was. `selected`:
    whether there must be a second copy of every weight, that of the best epoch.
    """
    found, needed, like = snapshot.tensors, {*begun}, {**begun}
    for name, value in begun.items():
        if not name.startswith("model."):
            continue
        kept, after = name.replace("model", "selected", 1), found.get(name)
        state = [name.replace("model", kind, 1) for kind in (_COUNT, *_MOMENTS)]
        like |= dict.fromkeys([*state, *([kept] if selected else [])], value)
        if not found.keys().isdisjoint(state) or (after is not None and not value.cpu().equal(after)):
            needed |= {*state}
        needed |= {kept} if selected else set()
    if missing := needed - found.keys():
        raise ValueError(f"its tensor {min(missing)} is missing")
    for name, value in found.items():
        if name.startswith(_COUNT):
            fits = value.numel() == 1 and float(value).is_integer() and 1 <= float(value) <= snapshot.step
        else:
            lowest, same = 0.0 if name.startswith(_MOMENTS[1]) else -math.inf, like.get(name)
            fits = same is not None and (value.shape, value.dtype) == (same.shape, same.dtype)
            fits = fits and bool((value.isfinite() & (value >= lowest)).all())
        if not fits or name not in like:
            raise ValueError(f"its tensor {name} is not one that this training can have reached")


class SelectionMetadata(TypedDict):
    """What a snapshot says of a selection, whose best weights are among its tensors."""

    epoch: int  # of these weights, from 1; 0 before the end of the first
    step: int  # updates done by its end
    scores: list[float | None]  # of the epochs so far, None for NaN or infinity


class BestEpoch:
    """Keeps the weights of the epoch with the highest score; the earlier epoch wins a tie."""

    def __init__(self, model: nn.Module, score: Callable[[], float], *, patience: int | None = None) -> None:
        """Watch `model` in training.

        `score` scores the current weights; higher is better, NaN is worst. After `patience` epochs without a better
        score training is `over`; None: it never is.
        """
        self._model, self._score, self._patience = model, score, patience
        self._weights = dict[str, Tensor]()  # on the CPU: a device may have no room for them
        self.epoch, self.step, self.scores = 0, 0, list[float | None]()  # as in `SelectionMetadata`

    @property
    def selected(self) -> dict[str, Any]:
        """`SelectionMetadata` of the epochs so far, of which there is one or more, and the `score` of the best."""
        best = self.scores[self.epoch - 1]
        return {"epoch": self.epoch, "step": self.step, "score": best, "scores": [*self.scores]}

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
            self._weights = {name: each.detach().to("cpu", copy=True) for name, each in trained(self._model).items()}

    def add_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with the state of the selection added, for `restore`."""
        own: SelectionMetadata = {"epoch": self.epoch, "step": self.step, "scores": self.scores}
        tensors = {**snapshot.tensors, **{f"selected.{name}": value for name, value in self._weights.items()}}
        return dataclasses.replace(snapshot, tensors=tensors, metadata={**snapshot.metadata, "selection": own})

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from what `add_to` stored."""
        own: SelectionMetadata = snapshot.metadata["selection"]
        self.epoch, self.step, self.scores = own["epoch"], own["step"], [*own["scores"]]
        self._weights = snapshot.part("selected.")

    def put_back(self) -> None:
        """Give the model the weights of the best epoch."""
        self._model.load_state_dict(self._weights, strict=False)  # without what is not trained
