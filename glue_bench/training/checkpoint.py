"""Crash-safe snapshots of training: each a folder, whole or absent, with the hashes of its files. Knows no loop."""

import contextlib
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
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glue_bench.files import file_sha256, replace_folder_atomically
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
        """Write a snapshot, then delete the old ones, which a DiskError, if it cannot be written, leaves intact."""
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
        self._tidy(name)

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

    def _tidy(self, newest: str) -> None:
        every = self._every()
        stale = [folder for folder in every if folder.name > newest]
        stale += [folder for folder in every if folder.name < newest][1:]
        for part in self._folder.glob(".step-*"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED:
                    stale.append(part)
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)

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
        return Snapshot(step=step, tensors=_with_names_of_today(load_file(folder / _TENSORS)), metadata=metadata)


def products_of_newest(folder: Path) -> str:
    """Return whose matrix products made a folder's newest snapshot; empty where none says it."""
    with contextlib.suppress(Exception):  # damage takes many forms
        newest = SnapshotStore(folder, belongs_to={})._every()[0]
        return str((_UNNAMED | read_json(newest / _MANIFEST)["belongs_to"])["products"])
    return ""


def _with_names_of_today(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of version 1, whose classifiers of BERT's and RoBERTa's families had an encoder and a head."""
    base = "bert" if "model.head.pooler.weight" in tensors else "roberta"
    renamed = {
        "encoder.transformer": f"whole.{base}",
        "head.pooler": "whole.bert.pooler.dense",
        "head.classifier": "whole.classifier",
        "head": "whole.classifier",
    }
    if not any(name.startswith("model.encoder.transformer.") for name in tensors):
        return tensors
    before = re.compile(rf"(?<=\.)({'|'.join(map(re.escape, renamed))})(?=\.)")
    return {before.sub(lambda found: renamed[found[0]], name, count=1): value for name, value in tensors.items()}


def check_tensors(snapshot: Snapshot, begun: Mapping[str, Tensor]) -> None:
    """Refuse, by a ValueError, tensors that no training comes to which began with those of `begun`.

    A weight has a state of the optimizer from its first gradient on: one that has none is as it was.
    """
    found, step = snapshot.tensors, snapshot.step
    weights = {name.removeprefix("model."): value for name, value in begun.items() if name.startswith("model.")}
    known = {f"{kind}.{name}": value for kind in ("selected", *_MOMENTS) for name, value in weights.items()} | {**begun}
    counts, chosen = ({f"{kind}.{name}" for name in weights} for kind in (_COUNT, "selected"))
    missing = {*begun} - {*found}
    missing |= chosen - {*found} if chosen & {*found} else set()
    for name, value in weights.items():
        state = {f"{kind}.{name}" for kind in (_COUNT, *_MOMENTS)}
        if state & {*found} or (step and name not in missing and not value.cpu().equal(found[f"model.{name}"])):
            missing |= state - {*found}
    if missing:
        raise ValueError(f"its tensor {min(missing)} is missing")
    for name, value in found.items():
        like, lowest = known.get(name), 0.0 if name.startswith(_MOMENTS[1]) else -math.inf
        if name in counts:
            fits = value.numel() == 1 and float(value).is_integer() and 1 <= float(value) <= step
        else:
            fits = like is not None and (value.shape, value.dtype) == (like.shape, like.dtype)
            fits = fits and bool((value.isfinite() & (value >= lowest)).all())
        if not fits:
            raise ValueError(f"its tensor {name} is none that this training can have come to")
