"""The parts `seed` and `seeds` of gpu.py: the eight tasks by the real command, everything included."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from gpu import CHECKOUT, Job
from gpu_material import TASKS

STOPPING = 45  # seconds of a part in which the command, asked to stop, keeps its snapshots


def seed(job: Job) -> None:
    """One seed of each task."""
    sweep(job, "seed", seeds=1)


def seeds(job: Job) -> None:
    """Several seeds; two as a toy."""
    sweep(job, "seeds", seeds=job.seeds)


def sweep(job: Job, name: str, *, seeds: int) -> None:
    """`glue-bench sweep`, from start to exit; a sweep that was cut off continues, and its times are added up."""
    material, folder = job.material(), job.work / name
    clock = folder / "clock.json"
    spent = json.loads(clock.read_text()) if clock.exists() else []
    if spent and spent[-1]["ended"]:
        shutil.rmtree(folder)
        spent = []
    (folder / "results").mkdir(parents=True, exist_ok=True)
    tasks = TASKS if not job.toy else ("cola", "stsb")
    command = [sys.executable, "-m", "glue_bench", "sweep", f"tasks=[{','.join(tasks)}]"]
    command += [f"seeds=[{','.join(str(1 + place) for place in range(seeds))}]", "encoder=custom", "data=local"]
    command += [f"encoder.path={material / 'encoder'}", "encoder.name=distilroberta-size"]
    command += [f"data.path={material / 'rows'}", f"results_dir={folder / 'results'}", *job.words]
    command += ["trainer.updates=12"] if job.toy else []
    started = time.perf_counter()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=log, stderr=log, env={**os.environ, "GLUE_BENCH_CACHE": str(folder / "cache")}
        )
        try:
            code: int | None = process.wait(max(1, job.left - STOPPING))
        except subprocess.TimeoutExpired:
            code = None
            process.terminate()  # its runs keep snapshots
            process.wait()
    spent.append({"seconds": round(time.perf_counter() - started, 1), "ended": code is not None, "exit": code})
    clock.write_text(json.dumps(spent))
    found = {"seeds": seeds, **describe(folder / "results", spent, runs=len(tasks) * seeds)}
    job.keep(found)
    print((folder / "log").read_text()[-2000:])
    if code is None:
        raise SystemExit(f"{found['runs finished']} when its time was over; the same call again continues")
    if code:
        raise SystemExit(f"the sweep ended with {code}")


def describe(results: Path, spent: list[dict[str, Any]], *, runs: int) -> dict[str, Any]:
    """Sum up the records."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("runs/*/*/*/record.json"))]
    finished = [record for record in records if record["status"] == "finished"]
    tasks = defaultdict[str, list[dict[str, Any]]](list)
    for record in finished:
        seconds = record["seconds"]
        tasks[record["task"]].append(
            {
                "updates": record["steps"],
                "train s": round(seconds["train"], 1),
                "eval s": round(seconds["eval"], 1),
                "rest s": round(seconds["total"] - seconds["train"] - seconds["eval"], 1),
                "ms an update": round(1000 * seconds["train"] / record["steps"], 3),
                **{name: record[name] for name in ("execution", "accumulation") if record.get(name)},
            }
        )
    errors = [f"{record['task']}: {record.get('error')}" for record in records if record["status"] != "finished"]
    whole = sum(attempt["seconds"] for attempt in spent)
    return {
        "wall-clock s, everything included": round(whole, 1),
        "wall-clock min": round(whole / 60, 2),
        "calls": spent,
        "runs finished": f"{len(finished)} of {runs}",
        **({"errors": errors} if errors else {}),
        "sum of training s": round(sum(record["seconds"]["train"] for record in finished), 1),
        "sum of evaluation s": round(sum(record["seconds"]["eval"] for record in finished), 1),
        "device": finished[0]["device"] if finished else None,
        "precision": finished[0]["precision"] if finished else None,
        "tasks": dict(tasks),
    }
