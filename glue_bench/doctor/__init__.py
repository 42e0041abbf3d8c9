"""Check whether a sweep would work here. This module: findings, their rendering, installed packages, and disk space.

It imports no more than it must, so that most missing or broken packages become a finding. Changes nothing, downloads
nothing.
"""

import platform
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from glue_bench.text import format_bytes, visible

OK, NOTE, PROBLEM = "ok", "note", "problem"
_COLORS = {NOTE: "\x1b[33m", PROBLEM: "\x1b[1;31m"}
_STATE, _NAME = 9, 22  # widths of the first two columns
_PACKAGE = "glue-bench"
LEAST_ROOM = 16 * 10**6  # bytes without which not even records can be kept


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
    """Compare the installed packages with the ranges in glue-bench's metadata. Imports none of them."""
    from packaging.requirements import Requirement

    yield Finding("Python", OK, found=platform.python_version())
    try:
        good, faults = [f"{_PACKAGE}=={metadata.version(_PACKAGE)}"], list[Finding]()
    except metadata.PackageNotFoundError:
        found = "glue-bench runs from a folder and is not installed: versions cannot be checked"
        yield Finding("packages", NOTE, found=found, advice="pip install -e . in its folder")
        return
    every = map(Requirement, metadata.requires(_PACKAGE) or [])
    for each in [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]:
        state, advice = NOTE, f"pip install '{each.name}{each.specifier}'"
        try:
            version = metadata.version(each.name)
            if each.specifier.contains(version, prereleases=True):
                good.append(f"{each.name}=={version}")
                continue
            text = f"{version}; glue-bench is tested with {each.specifier}"
        except metadata.PackageNotFoundError:
            text, state = f"not installed; glue-bench needs {each.specifier}", PROBLEM
        faults.append(Finding(each.name, state, found=text, advice=advice))
    yield Finding("packages", OK, found=", ".join(good))
    yield from faults


def nearest_folder(folder: Path) -> Path:
    """Return the folder itself, or its nearest existing parent; OSError if no file system accepts the name."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def examine_disk(needs: Mapping[Path, int]) -> Iterator[Finding]:
    """Compare each disk's free space with `needs`: the fewest bytes that the sweep will write to each folder."""
    disks = defaultdict[int, list[Path]](list)
    for folder in needs:
        disks[nearest_folder(folder).stat().st_dev].append(folder)
    for folders in disks.values():
        free, needed = shutil.disk_usage(nearest_folder(folders[0])).free, sum(needs[folder] for folder in folders)
        found = f"{format_bytes(free)} free for {' and '.join(map(str, folders))}"
        found += f"; {format_bytes(needed)} will be needed, and room for the snapshots of the runs at work"
        advice = "make room, or results_dir=FOLDER and HF_HOME on a larger disk" if free < needed else ""
        yield Finding("disk", PROBLEM if advice else OK, found=found, advice=advice)
