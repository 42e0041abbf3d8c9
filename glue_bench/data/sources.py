"""Find, before any training, the files that a task's rows are read from, what identifies them, and their columns."""

import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.hub import commit_of, fetch_file, is_commit
from glue_bench.data.tables import FILE_TYPES, TEXT_TYPES, Original, Table, read_table, read_text, type_of
from glue_bench.errors import InputError, UsageError, did_you_mean, list_names
from glue_bench.files import file_sha256

SAMPLE_ROWS = Path(__file__).resolve().parent / "sample_rows"  # its README.md says how they were made
SAMPLE_TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
SAMPLE_VERSION = 1  # increase it when a sample row changes: scores on different versions must not be compared
_ORIGINALS = yaml.safe_load(Path(__file__).with_name("originals.yaml").read_text("utf-8"))
ORIGINALS = {name: Original(**facts) for name, facts in _ORIGINALS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFiles:
    """The files that hold the rows of a split, in order."""

    paths: tuple[Path, ...]
    dev_ids: Path | None = None  # of MRPC: which rows of the file are the dev set
    dev: bool = False  # with dev_ids: these rows, rather than the others

    def __str__(self) -> str:
        """Name the first file, for messages."""
        return list_names(map(str, self.paths), 1)

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, for texts whatever their line ends, with gzip or without; errors as `read_text`."""
        paths = (*self.paths, *filter(None, [self.dev_ids]))
        readers = [None if type_of(path) in ("parquet", "arrow") else read_text for path in paths]
        hashes = [file_sha256(path, read=read) for path, read in zip(paths, readers, strict=True)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def read(self, task: TaskConfig) -> Iterator[Table]:
        """Read each file with the task's column names; errors as in `read_table`."""
        for path in self.paths:
            table = name_columns(read_table(path, ORIGINALS.get(task.name)), task)
            if self.dev_ids:
                ids = {tuple(line.split("\t")[:2]) for line in read_text(self.dev_ids).splitlines()}
                table.require("#1 ID", "#2 ID")
                pairs = zip(*map(table.read, ("#1 ID", "#2 ID")), strict=True)
                table = table.keep([(pair in ids) == self.dev for pair in pairs])
            yield table


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Where the rows of one task come from."""

    source: str  # hub, local or sample
    identity: Mapping[str, object]  # part of the run id
    files: Mapping[str, SplitFiles]  # of each split
    dataset: str | None = None
    revision: str | None = None  # the resolved commit


def resolve_source(data: DataConfig, task: TaskConfig) -> DataSource:
    """Find or download a task's files; a UsageError if the sample lacks it, an InputError for one out of reach."""
    files = dict[str, SplitFiles]()
    if data.source == "hub":
        for split, name in hub_files(task).items():  # every split comes from the first one's commit
            files[split], commit = fetch_split(data, name)
            data = replace(data, revision=commit)
        known = hub_identity(data) or {}
        return DataSource(source="hub", identity=known, files=files, dataset=data.dataset, revision=data.revision)
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
    return {"dataset": data.dataset, "revision": data.revision, **_limits(data)} if pinned else None


def hub_files(task: TaskConfig, *splits: str, folder: str = "") -> dict[str, str]:
    """Return the name of each split's file in the hub's data set; those that a run reads, unless others are named."""
    folder = folder or task.hub_config or task.name
    return {split: f"{folder}/{split}-00000-of-00001.parquet" for split in splits or (task.train, *task.validation)}


def fetch_split(data: DataConfig, name: str) -> tuple[SplitFiles, str]:
    """Download a file of the hub's data set; return it, and the commit that it is of. Errors as in `fetch_file`."""
    path = fetch_file(data.dataset or "", name, revision=data.revision or "", repo_type="dataset")
    assert path is not None  # noqa: S101 - only optional files can be None
    return SplitFiles(paths=(path,)), commit_of(path, name)


def _limits(data: DataConfig) -> dict[str, object]:
    limits = {"max_train_rows": data.max_train_rows, "max_eval_rows": data.max_eval_rows}
    return limits | ({"sample": data.sample} if data.sample != "first" and any(limits.values()) else {})


def find_split(root: Path, place: str, *, split: str) -> SplitFiles:
    """Find a split's files by our names, GLUE's or the hub's; an InputError for none, several kinds or too few."""
    original = ORIGINALS.get(place)
    folders = [root / place, *([root / original.folder] if original else [])]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    names = list(dict.fromkeys([split, split.replace("validation", "dev", 1)]))
    names += [original.folder] if original and place == "ax" else []
    found = [files for name in names for files in _candidates(folder, name)]
    if len(found) > 1:
        listed = ", ".join(files.paths[0].name for files in found)
        raise InputError(f"{folder}: duplicate split {split}: {listed}; keep one")
    pairs = folder / f"msr_paraphrase_{'test' if split == 'test' else 'train'}.txt"
    if not found and place == "mrpc" and pairs.is_file():  # not GLUE's own file: train and dev rows are in one text
        ids = [path for name in ("dev_ids.tsv", "mrpc_dev_ids.tsv") if (path := folder / name).is_file()]
        if split != "test" and not ids:
            words = f"it says which rows of {pairs.name} are the dev set"
            raise InputError(f"{folder / 'dev_ids.tsv'}: no such file; {words}")
        found = [SplitFiles(paths=(pairs,), dev_ids=ids[0] if split != "test" else None, dev=split == "validation")]
    if not found:
        above = any(next(_candidates(root, name), None) for name in names)
        texts = ", ".join(f"{split}.{kind}" for kind in TEXT_TYPES)
        others = f"{texts}, one of these with .gz, {split}-00000-of-00001.parquet, or a folder {split} of save_to_disk"
        others += f", nor in {original.folder}" if original and not folder.is_dir() else ""
        hint = f"; data.path={root.parent} is the folder of the tasks" if above else ""
        raise InputError(f"{folder / split}.parquet: no such file, nor {others}{hint}")
    return found[0]


def name_columns(table: Table, task: TaskConfig) -> Table:
    """Rename columns to the task's, by task.columns or GLUE's own names; an InputError if one is missing."""
    original, old = ORIGINALS.get(task.name), dict[str, str]()
    spare = {*table.names} - {*task.columns.values()}
    for name in (*task.texts, "label", "idx"):
        if wanted := task.columns.get(name):
            table.require(wanted, note=f" (task.columns.{name})")
            old[name] = wanted
        elif original and name not in table.names and original.columns.get(name) in spare:
            old[name] = original.columns[name]
    scores = task.kind == "regression" and original and old.get("label") == original.columns.get("label")

    def read(name: str) -> list[object]:
        values = table.read(old.get(name, name))
        return [*map(_as_hub_score, values)] if name == "label" and scores else values

    renamed = replace(table, names=[*table.names, *old], read=read)
    if old.get("label") == "gold_label":  # "-" where the annotators of MultiNLI did not agree; GLUE drops these rows
        return renamed.keep([value != "-" for value in renamed.read("label")])
    return renamed


def _as_hub_score(value: object) -> object:
    """Round a score to float32, which is the hub's type; leave anything else to be refused."""
    with contextlib.suppress(ValueError, TypeError):
        return float(np.float32(value))  # type: ignore[arg-type]
    return value


def _candidates(folder: Path, name: str, *, kinds: Sequence[str] = FILE_TYPES) -> Iterator[SplitFiles]:
    for path in (folder / f"{name}.{kind}" for kind in kinds):
        if path.exists() or path.is_symlink():  # a pipe, a folder or a broken link is refused when it is read
            yield SplitFiles(paths=(path,))
    if (folder / name / "state.json").is_file():  # as datasets.save_to_disk writes it
        yield from itertools.chain(*(_candidates(folder / name, own, kinds=("arrow",)) for own in ("data", "dataset")))
    pattern = re.compile(rf"{re.escape(name)}-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.({'|'.join(map(re.escape, kinds))})")
    shards = dict[tuple[int, str], dict[int, Path]]()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if shard := pattern.fullmatch(path.name):
            same = shards.setdefault((int(shard[2]), shard[3]), {}).setdefault(int(shard[1]), path)
            if same != path:
                raise InputError(f"{folder}: {same.name} and {path.name} have the same number; keep one")
    for (count, _), paths in shards.items():  # a count may be anything: never make that many numbers
        missing = (f"{number:05} is missing" for number in range(count) if number not in paths)
        beyond = (f"{number:05} is one too many" for number in paths if number >= count)
        if wrong := next(itertools.chain(missing, beyond), None):
            raise InputError(f"{folder}: {name} has {len(paths)} of {count} files; number {wrong}")
        yield SplitFiles(paths=tuple(paths[number] for number in range(count)))
