"""Parts of gpu.py about updates: their kernels, the eager step beside the graph, several runs at once."""

import dataclasses
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import torch
from gpu import Job
from gpu_machine import synchronise
from numpy.typing import NDArray
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded, TextEncoder
from glue_bench.machine import MPS_SHARE
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.placement import choose_placement
from glue_bench.sweep.sharing import side_by_side
from glue_bench.training.course import SeedStreams, StepReport
from glue_bench.training.trainer import fit

LOG_EVERY = 10


@dataclasses.dataclass
class Window:
    """The updates that are timed: `timed` of them after `warm`."""

    warm: int
    timed: int
    opens: Callable[[], object] = lambda: None
    closes: Callable[[], object] = lambda: None
    device: str = "cpu"  # which is waited for before the window opens and closes
    began: float = 0.0
    ended: float = 0.0

    @property
    def updates(self) -> int:
        """How many a fit must make."""
        return self.warm + self.timed + 3 * LOG_EVERY

    def on_step(self, line: StepReport) -> None:
        """Open and close; a line comes as many updates late in the beginning as in the end."""
        if line.step == self.warm:
            synchronise(self.device)
            self.opens()
            self.began = time.perf_counter()
        elif line.step == self.warm + self.timed:
            synchronise(self.device)
            self.ended = time.perf_counter()
            self.closes()

    @property
    def milliseconds(self) -> float:
        """Of an update."""
        return round(1000 * (self.ended - self.began) / self.timed, 3)


@dataclasses.dataclass(frozen=True)
class Case:
    """A task's rows, as many as are needed, with the model that a run of it has."""

    folder: Path
    task: str
    encoded: Encoded
    settings: TrainerConfig

    @classmethod
    def of(cls, task: str, *, folder: Path, words: Sequence[str], updates: int) -> "Case":
        """Read and encode rows for some updates."""
        config = compose_run([f"task={task}", *words])
        table = pq.read_table(folder / "rows" / task / f"{config.task.train}.parquet")
        table = table.slice(0, updates * config.trainer.batch_size)
        texts = [table[column].to_pylist() for column in config.task.texts]
        encoded = TextEncoder(folder / "encoder", max_length=config.trainer.max_length).tokenise(texts)
        return cls(folder, task, encoded, config.trainer)

    def model(self) -> Classifier:
        """Load it, with the embedding rows of the whole task."""
        model = load_classifier(self.folder / "encoder", outputs=2, head_seed=1, engine=self.settings.engine)
        model.cut_vocabulary(np.load(self.folder / "rows" / self.task / "tokens.npy"))
        return model

    def fit(self, window: Window) -> dict[str, Any]:
        """Train as a run does; return what the fit says about itself."""
        settings = dataclasses.replace(self.settings, updates=window.updates, log_every=LOG_EVERY, snapshot_minutes=0)
        labels: NDArray[np.int64] = np.arange(len(self.encoded)) % 2
        placement = choose_placement(settings.device, settings.precision, deterministic=settings.deterministic)
        result = fit(
            self.model(),
            self.encoded,
            labels=labels,
            settings=settings,
            streams=SeedStreams.from_seed(1),
            placement=placement,
            history=[],
            on_step=window.on_step,
        )
        said = {name: getattr(result, name) for name in ("kernels", "graph") if hasattr(result, name)}
        return {"precision": placement.precision, **said}


def profile(job: Job) -> None:
    """Milliseconds, kernels and busy time of an update as the default configuration trains."""
    found: dict[str, Any] = {}
    size = (40, 50) if job.device == "cuda" else (10, 10)
    for task in ("mnli", "cola")[job.toy :]:
        case = Case.of(task, folder=job.material(), words=job.words, updates=150 if not job.toy else 3)
        plain = Window(2 * size[0], 2 * size[1])
        facts = case.fit(plain)
        watched = profiler(activities=[ProfilerActivity.CUDA if job.device == "cuda" else ProfilerActivity.CPU])
        window = Window(*size, opens=watched.start, closes=watched.stop, device=job.device)
        case.fit(window)
        tokens = float(case.encoded.lengths().mean()) * case.settings.batch_size
        kernels = summarise(watched, updates=size[1], device=job.device)
        found[f"{task}-like"] = {
            **facts,
            "tokens an update": round(tokens),
            "ms an update": plain.milliseconds,
            **kernels,
        }
        job.keep(found)


def summarise(watched: Any, *, updates: int, device: str) -> dict[str, Any]:
    """Count the kernels of an update and what they took, the longest first; on a CPU torch's operations."""
    wanted = DeviceType.CUDA if device == "cuda" else DeviceType.CPU
    counts, micros, calls = defaultdict[str, int](int), defaultdict[str, float](float), defaultdict[str, int](int)
    for event in watched.events():
        if event.device_type == wanted and not getattr(event, "is_user_annotation", False):
            counts[event.name] += 1
            micros[event.name] += event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        elif event.name.startswith(("cuda", "cu")):
            calls[event.name] += 1
    longest = sorted(micros, key=lambda name: -micros[name])[:25]
    return {
        "kernels an update": round(sum(counts.values()) / updates, 1),
        "kernel ms an update": round(sum(micros.values()) / updates / 1000, 3),
        "calls of the driver an update": {
            name: round(n / updates, 1) for name, n in sorted(calls.items()) if n >= updates
        },
        "longest: us an update, count an update, name": [
            [round(micros[name] / updates, 1), round(counts[name] / updates, 1), name[:110]] for name in longest
        ],
    }


def step(job: Job) -> None:
    """Milliseconds of an update as it is and without a graph, 32 rows of one length, for lengths from 8 to 128."""
    folder, found = job.material(), dict[str, Any]()
    known = {item.name for item in dataclasses.fields(TrainerConfig)}
    if job.device == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
    ways = {"as it is": [], "graph off": ["trainer.graph=off"]} if "graph" in known else {"as it is": []}
    for length in (8, 12, 16, 24, 32, 40, 56, 80, 128) if not job.toy else (8,):
        line: dict[str, Any] = {"tokens": 32 * length}
        for way, words in ways.items():
            settings = compose_run(["task=mnli", *job.words, *words]).trainer
            case = Case(folder, "mnli", constant_rows(length, folder), settings)
            window = Window(40, 60) if job.device == "cuda" else Window(10, 10)
            if job.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            line |= {f"{way}: {name}": value for name, value in case.fit(window).items() if name != "precision"}
            line[f"{way}: ms"] = window.milliseconds
            if job.device == "cuda":
                line[f"{way}: GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        found[f"{length} tokens a row"] = line
        job.keep(found)


def constant_rows(length: int, folder: Path) -> Encoded:
    """Rows of one length, random tokens of MNLI's."""
    tokens = np.random.default_rng(length).choice(np.load(folder / "rows" / "mnli" / "tokens.npy"), (640, length))
    flat = tokens.astype(np.int32).reshape(-1)
    return Encoded(tokens=flat, types=np.zeros_like(flat, np.uint8), offsets=length * np.arange(641), truncated=0)


# Runs at once; the percentage of the multiprocessors that each may use under MPS, or None without MPS.
_AT_ONCE = ((1, None), (2, None), (3, None), (2, 100), (3, 100), (3, 50), (4, 100), (4, 50), (6, 50))


def concurrent(job: Job) -> None:
    """Updates a second of several runs on one device: by turns, and by MPS, as a sweep starts it, if it is there."""
    found, folder = dict[str, Any](), job.material()
    settings = compose_run(["task=mnli", *job.words]).trainer
    for length in (40, 8)[job.toy :]:
        case = Case(folder, "mnli", constant_rows(length, folder), settings)
        for runs, share in _AT_ONCE[: 2 if job.toy else None]:
            given = {MPS_SHARE: str(share or 100)}
            with mock.patch.dict(os.environ, given), side_by_side(runs if share else 1) as served:
                if share and not served:
                    continue
                name = f"{length} tokens a row, {runs} at once" + (f", MPS, {share} % each" if share else "")
                found[name] = at_once(runs, case=case, timed=300 if job.device == "cuda" else 10)
            job.keep(found)


def at_once(count: int, *, case: Case, timed: int) -> dict[str, Any] | str:
    """Train in several processes, forked from this one, which has not used the device; time them once all are ready.

    If one fails, return why.
    """
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(count), context.Queue()
    processes = [context.Process(target=one_of, args=(barrier, queue, case, timed)) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        spans = [queue.get(timeout=120) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=30)
            process.kill()
    if failed := [span for span in spans if isinstance(span, str)]:
        return "; ".join(sorted(set(failed)))
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return {
        "updates a second": round(count * timed / seconds, 1),
        "ms an update": [round(1000 * (end - begin) / timed, 3) for begin, end in spans],
    }


def one_of(barrier: Any, queue: Any, case: Case, timed: int) -> None:
    """Be one of several runs."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 4))
    window = Window(60 if timed > 60 else 10, timed, opens=lambda: barrier.wait(100))
    try:
        case.fit(window)
    except Exception as error:  # the others wait at the barrier for the one that failed
        barrier.abort()
        queue.put(f"{type(error).__name__}: {error}")
    else:
        queue.put((window.began, window.ended))
