"""Where a sweep writes, how much room there is, and what earlier ones left behind. Writes nothing that stays."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.doctor.findings import NOTE, OK, PROBLEM, Finding, format_bytes
from glue_bench.errors import DiskError
from glue_bench.files import check_writable
from glue_bench.runs.lease import is_abandoned, owner_of
from glue_bench.runs.record import STATUSES, Record, parse_record
from glue_bench.runs.store import RunStore

_LEAST = 16 * 10**6  # bytes without which not even records can be kept
_PER_RUN = 2 * 10**6  # bytes of predictions and history of a large task: QQP has 40,430 dev rows
# Weights and two moments, as float32 like the weights; two of them are kept, and a third is being written.
_SNAPSHOTS = 3 * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a sweep will write to one folder."""

    place: str  # as the finding names it
    folder: Path
    sure: int  # bytes
    rough: int | None  # bytes besides, at most, as far as that can be said before; None: not at all


def needs_of_results(folder: Path, *, runs: int, at_once: int, weights: int, models: int) -> Need:
    """Records and predictions, and the snapshots of the runs at work.

    Args:
        weights: bytes of the largest encoder's; 0 if not known.
        models: runs that keep their weights.
    """
    rough = _PER_RUN * runs + _SNAPSHOTS * weights * at_once + weights * models
    return Need(place="results", folder=folder, sure=_LEAST, rough=rough if weights else None)


def examine_results(store: RunStore) -> Finding:
    """Whether results can be kept, and what is there."""
    problem = examine_writable("results", store.root, "results_dir=FOLDER that you may write")
    if problem is not None:
        return problem
    counts = Counter(record.status for record in _records(store).values() if record is not None)
    there = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    return Finding(name="results", state=OK, found=f"{store.root.parent}: can be written; {there or 'no runs yet'}")


def examine_writable(name: str, folder: Path, advice: str) -> Finding | None:
    """A problem if the folder, or the first one above it that is there, cannot be written; it is not made."""
    try:
        check_writable(_nearest(folder))
        return None
    except (DiskError, OSError) as error:
        return Finding(name=name, state=PROBLEM, found=str(error), advice=advice)


def examine_leftovers(store: RunStore) -> list[Finding]:
    """Damaged records, snapshots of runs that were stopped, and claims of workers that died."""
    findings = []
    damaged = [folder / "record.json" for folder, record in _records(store).items() if record is None]
    if damaged:
        found = f"{_runs(len(damaged))} with a damaged record, which is ignored: {_listed(damaged)}"
        advice = "nothing: a sweep that wants such a run runs it again; or delete the folder"
        findings.append(Finding(name="records", state=NOTE, found=found, advice=advice))
    at_work, dead, stopped = list[Path](), list[Path](), list[Path]()
    for folder in store.folders():
        if owner_of(folder) is not None:
            at_work.append(folder)
            continue
        if is_abandoned(folder):
            dead.append(folder)
        if any((folder / "snapshots").glob("step-*")):
            stopped.append(folder)
    if at_work:
        findings.append(Finding(name="at work", state=OK, found=f"{_runs(len(at_work))}: {_listed(at_work)}"))
    if dead:
        found = f"{_runs(len(dead))} whose worker died or fell silent: {_listed(dead)}"
        advice = "nothing: the same sweep takes them over"
        findings.append(Finding(name="claims", state=NOTE, found=found, advice=advice))
    if stopped:
        size = sum(file.stat().st_size for folder in stopped for file in (folder / "snapshots").rglob("*"))
        found = f"{_runs(len(stopped))} not ended, with {format_bytes(size)} of snapshots: {_listed(stopped)}"
        advice = "the same sweep goes on from them; or delete their folders snapshots/"
        findings.append(Finding(name="snapshots", state=NOTE, found=found, advice=advice))
    return findings


def examine_disk(needs: Sequence[Need]) -> list[Finding]:
    """A finding for each disk: free room against what the folders on it will take."""
    disks = dict[int, list[Need]]()
    for need in needs:
        disks.setdefault(_nearest(need.folder).stat().st_dev, []).append(need)
    return [_examine_one_disk(on_it) for on_it in disks.values()]


def _examine_one_disk(needs: Sequence[Need]) -> Finding:
    free = shutil.disk_usage(_nearest(needs[0].folder)).free
    sure = sum(need.sure for need in needs)
    rough = sure + sum(need.rough or 0 for need in needs)
    state = PROBLEM if free < sure else NOTE if free < rough else OK
    places = " and ".join(need.place for need in needs)
    known = all(need.rough is not None for need in needs)
    wanted = (
        f"at most, and very roughly, {format_bytes(rough)} will be needed"
        if known
        else "how much is needed depends on the encoder, whose size is not known"
    )
    found = f"{format_bytes(free)} free for {places}; {wanted}"
    advice = "" if state == OK else "make room, or results_dir=FOLDER and HF_HOME on a larger disk"
    return Finding(name="disk", state=state, found=found, advice=advice)


def _records(store: RunStore) -> dict[Path, Record | None]:
    """Every record by its run's folder; None for a damaged one."""
    found = dict[Path, Record | None]()
    for folder in store.folders():
        try:
            found[folder] = parse_record(folder / "record.json")
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            found[folder] = None
    return found


def _nearest(folder: Path) -> Path:
    """The folder itself, or the first above it that is there.

    Raises:
        OSError: the name is none that a file system takes.
    """
    full = folder.absolute()
    return next(path for path in (full, *full.parents) if path.exists())


def _runs(count: int) -> str:
    return f"{count} {'run' if count == 1 else 'runs'}"


def _listed(paths: Sequence[Path]) -> str:
    """The first, and how many more."""
    return f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
