"""Two runs, two cores: two one-thread workers at once, or one run after the other with two threads?

    python benchmarks/workers.py --data FOLDER [--repeats 3]

FOLDER holds cola/ and mrpc/. MiniLM, 40 updates of 32 CoLA rows and 16 of MRPC, which take about as long. Interleaved;
prints seconds of both whole processes together, and the ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = {"cola": 1280, "mrpc": 512}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    words = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    pairs = []
    for _ in range(words.repeats):
        with tempfile.TemporaryDirectory() as results:
            pairs.append(
                (at_once(words.data, Path(results) / "a", cores), in_turn(words.data, Path(results) / "b", cores))
            )
    names = ("two workers of one thread at once", "one after the other, two threads")
    for name, seconds in zip(names, zip(*pairs, strict=True), strict=True):
        print(f"{name}: {statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})")
    ratios = [turn / once for once, turn in pairs]
    print(f"at once is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


def at_once(data: Path, results: Path, cores: list[int]) -> float:
    """Seconds until both pinned workers are done."""
    started = time.perf_counter()
    workers = [start(task, data, results, [core]) for task, core in zip(ROWS, cores, strict=True)]
    for worker in workers:
        finish(worker)
    return time.perf_counter() - started


def in_turn(data: Path, results: Path, cores: list[int]) -> float:
    """Seconds of one run on both cores and then the other."""
    started = time.perf_counter()
    for task in ROWS:
        finish(start(task, data, results, cores))
    return time.perf_counter() - started


def start(task: str, data: Path, results: Path, cores: list[int]) -> subprocess.Popen[bytes]:
    """`glue-bench run` on these cores, with a thread for each."""
    command = [sys.executable, "-m", "glue_bench", "run", f"task={task}", "encoder=minilm", "data=local"]
    command += [f"data.path={data}", f"data.max_train_rows={ROWS[task]}", f"results_dir={results}"]
    command += ["trainer.epochs=1", "trainer.batch_size=32", "trainer.device=cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cores)), "HF_HUB_OFFLINE": "1"}
    quiet = subprocess.DEVNULL
    worker = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    os.sched_setaffinity(worker.pid, cores)
    return worker


def finish(worker: subprocess.Popen[bytes]) -> None:
    """Wait, and accept no failure."""
    if worker.wait():
        raise SystemExit(f"{worker.args!r}: exit status {worker.returncode}")


if __name__ == "__main__":
    main()
