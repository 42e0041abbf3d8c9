"""Find the files that a task's rows are read from, and what identifies them. Reads no rows.

Sources are resolved before any training, so that a missing file or an unreachable hub ends the command at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.hub import commit_of, fetch_file, is_commit
from glue_bench.data.splits import SplitFiles, find_split
from glue_bench.errors import UsageError, did_you_mean

SAMPLE_ROWS = Path(__file__).resolve().parent / "sample_rows"  # its README.md says how they were made
SAMPLE_TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
SAMPLE_VERSION = 1  # increase it when a sample row changes: scores on different versions must not be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Where the rows of one task come from."""

    source: str  # hub, local or sample
    identity: Mapping[str, object]  # part of the run id
    files: Mapping[str, SplitFiles]  # of each split
    dataset: str | None = None
    revision: str | None = None  # the resolved commit


def resolve_source(data: DataConfig, task: TaskConfig) -> DataSource:
    """Find or download the files of the training and validation splits; a UsageError if the sample has no such task.

    An InputError if a file is missing, or the hub cannot be reached and its cache lacks the file.
    """
    files = dict[str, SplitFiles]()
    if data.source == "hub":
        dataset, revision = data.dataset or "", data.revision or ""
        for split, name in hub_files(task).items():  # every split comes from the first one's commit
            files[split], revision = fetch_split(dataset, name, revision=revision)
        known = _hub_identity(data, revision)
        return DataSource(source="hub", identity=known, files=files, dataset=dataset, revision=revision)
    if data.source == "sample" and task.name not in SAMPLE_TASKS:
        raise UsageError(f"data=sample: no sample rows for task={task.name}{did_you_mean(task.name, SAMPLE_TASKS)}")
    root = SAMPLE_ROWS if data.source == "sample" else Path(data.path or "")
    files = {split: find_split(root, task.name, split=split) for split in (task.train, *task.validation)}
    content: dict[str, object] = {"sample": SAMPLE_VERSION}
    if data.source == "local":
        content = {"files": {split: found.sha256 for split, found in files.items()}}
    return DataSource(source=data.source, identity={**content, **_limits(data)}, files=files)


def hub_identity(data: DataConfig) -> dict[str, object] | None:
    """Return the identity of hub data at a pinned commit, which needs no request; None if it is not pinned."""
    pinned = data.source == "hub" and is_commit(data.revision or "")
    return _hub_identity(data, data.revision) if pinned else None


def hub_files(task: TaskConfig) -> dict[str, str]:
    """Return the name of each split's file in the hub's data set."""
    return {split: hub_file(task.hub_config or task.name, split) for split in (task.train, *task.validation)}


def hub_file(folder: str, split: str) -> str:
    """Return the name of a split's file in the hub's data set."""
    return f"{folder}/{split}-00000-of-00001.parquet"


def fetch_split(dataset: str, name: str, *, revision: str) -> tuple[SplitFiles, str]:
    """Download a file of the hub's data set; return it, and the commit that it is of. Errors as in `fetch_file`."""
    path = fetch_file(dataset, name, revision=revision, repo_type="dataset")
    assert path is not None  # noqa: S101 - only optional files can be None
    return SplitFiles(paths=(path,)), commit_of(path, name)


def _hub_identity(data: DataConfig, revision: str | None) -> dict[str, object]:
    """Return the identity of a pinned or resolved commit, which must give the same run id."""
    return {"dataset": data.dataset, "revision": revision, **_limits(data)}


def _limits(data: DataConfig) -> dict[str, object]:
    limits = {"max_train_rows": data.max_train_rows, "max_eval_rows": data.max_eval_rows}
    drawn = data.sample != "first" and any(limits.values())
    return {**limits, **({"sample": data.sample} if drawn else {})}
