"""Make records as a run would write them, without running."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import ExecutorConfig, RunConfig, SlurmConfig
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore


def make_record(
    *,
    task: str = "rte",
    seed: int = 1,
    setting: str = "000",
    status: str = "finished",
    scores: dict[str, dict[str, float]] | None = None,
    reasons: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    **changes: Any,
) -> Record:
    """Make a record with the true configuration of `task`, and the encoder `tiny` unless `changes` say otherwise."""
    config = dataclasses.replace(_compose_cached(f"task={task}", *words), seed=seed)
    splits = [config.task.train, *config.task.validation]
    facts: dict[str, Any] = {
        "run_id": f"seed{seed}-{setting}",
        "setting_id": setting,
        "status": status,
        "task": task,
        "encoder": {"name": "tiny", "hub_id": None, "revision": None, "weights_sha256": "0", "parameters": 1},
        "data": {
            "source": "hub",
            "dataset": config.data.dataset,
            "revision": config.data.revision,
            "fingerprint": "0",
            "rows": {split: config.task.rows.get(split, 1) for split in splits},
        },
        "comparable": not reasons,
        "not_comparable_because": list(reasons),
        "seed": seed,
        "streams": {"head": 1, "order": 2, "dropout": 3},
        "recipe": "default",
        "scores": scores or scores_of(task, 0.5),
        "precision": "float32",
        "seconds": {"train": 1.0, "eval": 1.0, "total": 2.0},
        "config": dataclasses.asdict(config),
    }
    facts |= changes
    # What records of every version have, if it is not what a test is about.
    facts["encoder"] = {"hub_id": None, "revision": None, "weights_sha256": None, **facts["encoder"]}
    facts["data"] = {"dataset": None, "revision": None, "fingerprint": None, **facts["data"]}
    return Record(**facts)


def make_request(*, task: str, seed: int, setting: str = "000", starts: tuple[RunRequest, ...] = ()) -> RunRequest:
    """Make the request that belongs to `make_record` with the same words."""
    config = dataclasses.replace(_compose_cached(f"task={task}"), seed=seed)
    return RunRequest(
        config=config, encoder="tiny", setting_id=setting, run_id=f"seed{seed}-{setting}", inputs={}, starts=starts
    )


@functools.cache
def _compose_cached(*words: str) -> RunConfig:
    return compose_run(words)


def scores_of(task: str, value: float) -> dict[str, dict[str, float]]:
    """Return the same value for every metric of every validation split of a task."""
    facts = _compose_cached(f"task={task}").task
    return {split: dict.fromkeys(facts.metrics, value) for split in facts.validation}


DISTILROBERTA: dict[str, Any] = {
    "name": "distilroberta",
    "hub_id": "distilbert/distilroberta-base",
    "revision": "fb5",
    "parameters": 1,
}
ROBERTA: dict[str, Any] = {"name": "roberta", "hub_id": "FacebookAI/roberta-base", "revision": "e2d", "parameters": 1}


def cell_run(seed: int, score: float, rate: float, batch: int = 16, **changes: Any) -> Record:
    """Make a run of the grid of roberta_paper: the dev metric of the selected epoch is its score."""
    words = ("recipe=roberta_paper", f"trainer.learning_rate={rate}", f"trainer.batch_size={batch}")
    words += tuple(changes.pop("words", ()))
    facts = {
        "task": "rte",
        "seed": seed,
        "setting": f"{rate} {batch} {words[3:]}",
        "scores": scores_of("rte", score),
        "encoder": ROBERTA,
        "words": words,
        "recipe": "roberta_paper",
        "selection": "best",
        "selected": {"epoch": 2, "step": 20, "on": "validation", "rows": 277, "score": score, "scores": [0.1, score]},
    }
    return make_record(**{**facts, **changes})


def executor(**changes: object) -> ExecutorConfig:
    """Make a local executor with some other values."""
    slurm = SlurmConfig(hours=1, cpus=1, gpus=0, memory_gb=1, notice=60)
    usual: dict[str, object] = {"workers": "auto", "runs_per_gpu": None, "timeout": 1.0, "slurm": slurm}
    return ExecutorConfig(kind="local", **{**usual, **changes})  # type: ignore[arg-type]


def records_in(tmp_path: Path) -> list[Record]:
    """Return the records of the runs below a test's folder."""
    return list(RunStore(tmp_path / "results").load_all())
