"""Check whether a sweep would work here. This module: findings, their rendering, installed packages, and disk space.

It needs the standard library only, so that a missing or broken package becomes a finding. Changes nothing, downloads
nothing.
"""

import platform
import re
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from glue_bench.text import format_bytes, visible

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OK, NOTE, PROBLEM = "ok", "note", "problem"
_COLORS = {NOTE: "\x1b[33m", PROBLEM: "\x1b[1;31m"}
_STATE, _NAME = 9, 22  # widths of the first two columns
_PACKAGE = "glue-bench"
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_EXTRAS = {"sample": "for encoder=minilm", "slurm": "for executor=slurm", "peft": "for peft=lora, ia3 and prefix"}
LEAST_ROOM = 16 * 10**6  # bytes without which not even records can be kept
_ROOM_PER_RUN = 2 * 10**6  # bytes of predictions and history of a large task: QQP has 40,430 dev rows
# A snapshot is weights and two moments, all float32; two are kept while a third is written.
_SNAPSHOTS = 3 * 3
_SHOWN = ("torch", "transformers", "tokenizers", "datasets", "huggingface-hub", "numpy")


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the doctor's table."""

    name: str  # of what was checked
    state: str  # OK, NOTE (stops nothing) or PROBLEM (would stop the sweep)
    found: str
    advice: str = ""  # what to do; never empty for a problem


def render_finding(finding: Finding, *, width: int | None, color: bool) -> str:
    """Format one finding as lines, with the advice below, in `width` columns; None: as many as the terminal has."""
    columns = max((width or shutil.get_terminal_size().columns) - _STATE - _NAME, 20)
    texts = [finding.found, finding.advice and f"-> {finding.advice}"]
    lines = [line for text in texts for line in textwrap.wrap(visible(text), columns, break_on_hyphens=False)]
    start, end = (_COLORS[finding.state], "\x1b[0m") if color and finding.state in _COLORS else ("", "")
    head = f"{start}{finding.state:{_STATE}}{end}{finding.name:{_NAME}}"
    return head + f"\n{' ' * (_STATE + _NAME)}".join(lines) + "\n"


def examine_installation() -> Iterator[Finding]:
    """Compare Python and the installed packages with the ranges in glue-bench's metadata. Imports none of them."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata.metadata(_PACKAGE)
    except metadata.PackageNotFoundError:
        found = "glue-bench runs from a folder and is not installed: versions cannot be checked"
        yield Finding("packages", NOTE, found=found, advice="pip install -e . in its folder")
        return
    needed, python = SpecifierSet(about["Requires-Python"] or ""), platform.python_version()
    advice = "" if needed.contains(python, prereleases=True) else f"use a virtual environment with Python {needed}"
    found = f"{python}; glue-bench {about['Version']} is tested with {needed}" if advice else python
    yield Finding("Python", NOTE if advice else OK, found=found, advice=advice)
    by_extra: dict[str | None, list[Requirement]] = {None: []}
    for text in metadata.requires(_PACKAGE) or []:
        extra = _EXTRA.search(text)
        by_extra.setdefault(extra[1] if extra else None, []).append(Requirement(text))
    faults = [fault for requirement in by_extra[None] if (fault := _check(requirement))]
    good = {requirement.name for requirement in by_extra[None]} - {fault.name for fault in faults}
    shown = [f"{name} {metadata.version(name)}" for name in _SHOWN if name in good]
    more = [f"and {len(good) - len(shown)} more"] if len(good) > len(shown) else []
    yield Finding("packages", OK, found=", ".join([f"glue-bench {about['Version']}", *shown, *more]))
    yield from faults
    extras = {name: use for name, use in _EXTRAS.items() if name in by_extra}
    missing = [name for name in extras if any(_check(requirement) for requirement in by_extra[name])]
    found = "; ".join(f"{name}: {'not ' if name in missing else ''}installed ({use})" for name, use in extras.items())
    advice = f"if you want them: pip install 'glue-bench[{','.join(missing)}]'" if missing else ""
    yield Finding("extras", OK, found=found, advice=advice)  # a sweep that needs one has its own finding


def _check(requirement: "Requirement") -> Finding | None:
    name, wanted, state = requirement.name, requirement.specifier, NOTE
    try:
        found = metadata.version(name)
        if wanted.contains(found, prereleases=True):
            return None
        text = f"{found}; glue-bench is tested with {wanted}"
    except metadata.PackageNotFoundError:
        text, state = f"not installed; glue-bench needs {wanted}", PROBLEM
    return Finding(name, state, found=text, advice=f"pip install '{name}{wanted}'")


def nearest_folder(folder: Path) -> Path:
    """Return the folder itself, or its nearest existing parent; OSError if no file system accepts the name."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def room_for(*, runs: int, at_once: int, kept: int, weights: int) -> int | None:
    """Estimate the bytes of predictions, of snapshots of the runs at work, and of the models that are kept.

    `weights` are the bytes of the largest encoder's; None if that is 0, not known.
    """
    return _ROOM_PER_RUN * runs + (_SNAPSHOTS * at_once + kept) * weights if weights else None


class Need(NamedTuple):
    """What a sweep will write to one folder."""

    place: str  # in words
    folder: Path
    sure: int  # bytes
    rough: int | None  # further bytes, at most; None if not known


def examine_disk(needs: Sequence[Need]) -> Iterator[Finding]:
    """Compare the free space of each disk with what the sweep will write to it."""
    disks = defaultdict[int, list[Need]](list)
    for need in needs:
        disks[nearest_folder(need.folder).stat().st_dev].append(need)
    for on_it in disks.values():
        free = shutil.disk_usage(nearest_folder(on_it[0].folder)).free
        sure = sum(need.sure for need in on_it)
        rough = sure + sum(need.rough or 0 for need in on_it)
        wanted = f"roughly {format_bytes(rough)} or less will be needed"
        if any(need.rough is None for need in on_it):
            wanted = "how much is needed depends on the encoder's size, which is not known"
        state = PROBLEM if free < sure else NOTE if free < rough else OK
        advice = "" if state == OK else "make room, or results_dir=FOLDER and HF_HOME on a larger disk"
        found = f"{format_bytes(free)} free for {' and '.join(need.place for need in on_it)}; {wanted}"
        yield Finding("disk", state, found=found, advice=advice)
