"""The sample sweep by pinned one-thread workers, and by one run after the other with all cores: seconds, and the ratio.

    python benchmarks/workers.py [--repeats 2]

Interleaved, whole commands from start to exit, eight runs each, the texts tokenised before.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    words = parser.parse_args()
    seconds: dict[str, list[float]] = {"serial": [], "local": []}
    with tempfile.TemporaryDirectory() as folder:
        sweep("local", Path(folder), "warm", "data.max_eval_rows=1", "trainer.updates=1")
        for repeat in range(words.repeats):
            for executor, measured in seconds.items():
                measured.append(sweep(executor, Path(folder), f"{executor}{repeat}"))
                print(f"{executor}: {measured[-1]:.1f} s", flush=True)
    ratios = [serial / local for serial, local in zip(seconds["serial"], seconds["local"], strict=True)]
    print(f"workers are {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


def sweep(executor: str, folder: Path, results: str, *more: str) -> float:
    """Seconds of `glue-bench sweep preset=sample`."""
    command = [sys.executable, "-m", "glue_bench", "sweep", "preset=sample", f"executor={executor}", *more]
    environment = {**os.environ, "GLUE_BENCH_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    quiet, started = subprocess.DEVNULL, time.perf_counter()
    subprocess.run(
        [*command, f"results_dir={folder / results}", "trainer.device=cpu"],
        env=environment,
        stdout=quiet,
        stderr=quiet,
        check=True,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
