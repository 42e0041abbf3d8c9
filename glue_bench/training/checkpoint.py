"""Crash-safe snapshots of a training: a folder each, whole or absent, with the hashes of its files. Knows no loop."""

import contextlib
import errno
import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glue_bench.files import file_sha256, replace_folder_atomically

FORMAT = 1
_ABANDONED = 3600  # seconds after which an unfinished snapshot has no writer any more
_TENSORS, _FACTS, _MANIFEST = "tensors.safetensors", "facts.json", "manifest.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A training between two updates."""

    step: int  # updates done
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]  # everything that is no tensor, as JSON


class SnapshotStore:
    """The snapshots of one run: `step-0000000120/` and so on."""

    def __init__(self, folder: Path, *, belongs_to: Mapping[str, Any]) -> None:
        """Open a folder; nothing is created before something is saved.

        Args:
            belongs_to: what must be the same in a snapshot for it to be of use; strings and numbers.
        """
        self._folder, self._belongs_to = folder, dict(belongs_to)

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot whole, then let the old ones go.

        Raises:
            DiskError: it cannot be written; the ones before are intact.
        """
        with replace_folder_atomically(self._folder / _name(snapshot.step)) as target:
            try:
                save_file({name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}, target / _TENSORS)
            except SafetensorError as error:  # its word for a full disk
                raise OSError(errno.EIO, str(error)) from error
            (target / _FACTS).write_text(json.dumps({"step": snapshot.step, **snapshot.facts}), encoding="utf-8")
            hashes = {name: file_sha256(target / name) for name in (_TENSORS, _FACTS)}
            manifest = {"format": FORMAT, "belongs_to": self._belongs_to, "sha256": hashes}
            (target / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        self._tidy(snapshot.step)

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole and belongs here; a line in the log for every one that does not."""
        for folder in self._newest_first():
            try:
                return self._read(folder)
            except Exception as error:  # damage takes many forms
                logger.warning("snapshot %s is not used: %s", folder, error)
        return None

    def _tidy(self, step: int) -> None:
        """Keep the one just written and one before it, should it be damaged; what lies ahead of it was of no use."""
        before = [folder for folder in self._newest_first() if folder.name < _name(step)]
        ahead = [folder for folder in self._newest_first() if folder.name > _name(step)]
        now = time.time()
        for part in self._folder.glob(".step-*"):
            with contextlib.suppress(OSError):
                if now - part.stat().st_mtime > _ABANDONED:
                    before.append(part)
        for stale in [*ahead, *before[1:]]:
            shutil.rmtree(stale, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)

    def _read(self, folder: Path) -> Snapshot:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, this glue-bench knows {FORMAT}")
        for key, value in self._belongs_to.items():
            if manifest["belongs_to"].get(key) != value:
                raise ValueError(f"it was made with {key} {manifest['belongs_to'].get(key)}, not {value}")
        for name in (_TENSORS, _FACTS):
            if file_sha256(folder / name) != manifest["sha256"][name]:
                raise ValueError(f"{name} is damaged")
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        return Snapshot(step=facts.pop("step"), tensors=load_file(folder / _TENSORS), facts=facts)


def _name(step: int) -> str:
    return f"step-{step:010d}"
