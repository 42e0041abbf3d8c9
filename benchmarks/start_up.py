"""Seconds from the start of `glue-bench run` to its first update; the second run finds its tokens cached.

    python benchmarks/start_up.py --data FOLDER [--repeats 4]

MiniLM on CoLA, one thread; the process ends as the first update begins.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The first update is the one call that is stopped; everything before it is the command's own.
FIRST_UPDATE = """
import os, sys, time
from glue_bench.training import updates
from glue_bench.cli import main
def first(*_, **__):
    print(time.time() - float(os.environ["STARTED"]), flush=True)
    os._exit(0)
updates.Updates.update = first
main(sys.argv[1:])
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=4)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", FIRST_UPDATE, "run", "task=cola", "encoder=minilm", "data=local"]
        command += [f"data.path={words.data.resolve()}", f"results_dir={folder}/results", "trainer.device=cpu"]
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GLUE_BENCH_CACHE": f"{folder}/cache"}
        for _ in range(words.repeats):
            environment = {**quiet, "STARTED": str(time.time())}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            print(f"{float(done.stdout):.2f} s")


if __name__ == "__main__":
    main()
