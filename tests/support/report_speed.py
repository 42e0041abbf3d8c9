"""Times `report`, its page and `compare` on 160 runs: `python -m tests.support.report_speed [FOLDER]`.

Eight tasks, five seeds and four encoders, with predictions for every row of the official dev sets. Each command runs
twice, the first time with an empty cache folder; seconds, processor time and the largest memory are printed.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.making import DISTILROBERTA, ROBERTA
from tests.support.making_results import write_run

TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
OTHERS = [{**ROBERTA, "name": name, "hub_id": f"a/{name}"} for name in ("minilm", "bert")]
# Prints its processor time and the largest memory of its own: that of `getrusage` would be its parent's, if larger.
PROGRAM = """
import sys, time
from pathlib import Path
from glue_bench.cli import main
code = main(sys.argv[1:])
status = Path("/proc/self/status").read_text().split()
print(time.process_time(), status[status.index("VmHWM:") + 1], file=sys.stderr)
sys.exit(code)
"""
COMMANDS = ("report", "report --format html --out page.html", "compare distilroberta roberta")


def make(results: Path) -> None:
    """Write the runs."""
    for number, encoder in enumerate([DISTILROBERTA, ROBERTA, *OTHERS]):
        known = {**encoder, "parameters": 82_000_000 + number, "weights_sha256": str(number)}
        for task in TASKS:
            for seed in range(1, 6):
                write_run(results, skill=1.2 + 0.2 * number, task=task, seed=seed, encoder=known)


def measure(words: list[str], *, place: Path, cache: str) -> str:
    """Run one command; return its seconds, processor seconds and MB."""
    command = [sys.executable, "-c", PROGRAM, *words, f"results_dir={place / 'results'}"]
    begun, environment = time.monotonic(), os.environ | {"GLUE_BENCH_CACHE": cache}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - begun
    used, kilobytes = done.stderr.split()[-2:]
    return f"{seconds:6.2f} s {float(used):6.2f} s of processor {int(kilobytes) / 1e3:5.0f} MB"


def main() -> None:
    """Make the folder, unless it is there, and measure."""
    place = Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp()).resolve()
    if not (place / "results").exists():
        make(place / "results")
    for words in COMMANDS:
        cache = tempfile.mkdtemp(dir=place)
        for time_of_it in ("first", "again"):
            sys.stdout.write(f"{words:40} {time_of_it}: {measure(words.split(), place=place, cache=cache)}\n")


if __name__ == "__main__":
    main()
