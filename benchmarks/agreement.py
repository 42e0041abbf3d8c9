"""Do our scores agree with transformers.Trainer's? Real rows, same encoder, same hyperparameters, several seeds.

    python benchmarks/agreement.py --data FOLDER [--out results/agreement.json] [--work FOLDER] [--table]

FOLDER holds cola/, mrpc/ and sst2/ with train.parquet and validation.parquet. Runs are interleaved (ours, Trainer,
ours, ...), two at a time with one thread each, and kept in --work: stopped, the same command continues. So it does
from the runs in --out, which --table writes there at any time. It takes hours on two cores; bfloat16 is slow where a
CPU has none. Prints Markdown: scores per seed, means, standard deviations over seeds, and whether the means are
equivalent: two one-sided Welch tests against a margin, which is stated below. --table prints what is there so far.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from material import minilm
from scipy.stats import ttest_ind

OURS, TRAINER = "glue-bench", "transformers.Trainer"
PADDED, BFLOAT16 = "glue-bench, padded", "glue-bench, bfloat16"
SEEDS = {OURS: (1, 2, 3, 4, 5), TRAINER: (1, 2, 3, 4, 5), BFLOAT16: (1, 2, 3), PADDED: (1, 2, 3)}
VARIANTS = {OURS: [], PADDED: ["trainer.engine=padded"], BFLOAT16: ["trainer.precision=bfloat16"]}
SETTINGS: dict[str, float] = {
    "batch_size": 16,
    "learning_rate": 5e-5,
    "warmup": 0.06,
    "weight_decay": 0.1,
    "epsilon": 1e-6,
    "clip_norm": 1.0,
}
BETAS = (0.9, 0.98)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Task:
    """What is trained and compared."""

    metric: str
    epochs: int
    margin: float  # of equivalence, in points; chosen before any run as about twice what seeds alone differ by
    rows: int | None = None  # the first training rows; None: all


TASKS = {
    "cola": Task("matthews_correlation", epochs=3, margin=5.0),
    "mrpc": Task("accuracy", epochs=3, margin=2.5),
    "sst2": Task("accuracy", epochs=2, margin=1.5, rows=4000),
}


@dataclass(frozen=True)
class Cell:
    """One fine-tune of one way."""

    way: str
    task: str
    seed: int

    @property
    def words(self) -> dict[str, str]:
        """What both ways are given, by name."""
        facts = TASKS[self.task]
        rows = {} if facts.rows is None else {"max_train_rows": str(facts.rows)}
        return {"epochs": str(facts.epochs), **{key: str(value) for key, value in SETTINGS.items()}, **rows}


def main() -> None:
    """Run what is missing, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("results/agreement"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", action="store_true", help="run nothing")
    words = parser.parse_args()
    words.work.mkdir(parents=True, exist_ok=True)
    facts = {
        "settings": {**SETTINGS, "betas": list(BETAS), "encoder": "minilm"},
        "tasks": {task: vars(known) for task, known in TASKS.items()},
    }
    scores = known_scores(words.out, facts)
    cells = [Cell(way, task, seed) for seed in SEEDS[OURS] for task in TASKS for way in SEEDS if seed in SEEDS[way]]
    cells.sort(key=lambda cell: cell.way == PADDED)  # seed by seed; the slow engine of ours last
    if not words.table:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(train, cell, words.data, words.work) for cell in cells if cell not in scores]:
                done.result()
    scores |= {cell: score for cell in cells if (score := score_of(cell, words.work)) is not None}
    print(make_table(scores))
    if words.out is not None:
        runs = [{**vars(cell), "score": scores[cell]} for cell in cells if cell in scores]
        words.out.write_text(json.dumps({**facts, "runs": runs}, indent=1) + "\n")


def known_scores(out: Path | None, facts: dict[str, Any]) -> dict[Cell, float]:
    """The scores that an earlier call wrote, perhaps elsewhere, if it trained in the same way."""
    kept = json.loads(out.read_text()) if out is not None and out.exists() else {}
    if {key: kept.get(key) for key in facts} != facts:
        return {}
    return {Cell(run["way"], run["task"], run["seed"]): run["score"] for run in kept["runs"]}


def train(cell: Cell, data: Path, work: Path) -> None:
    """Fine-tune in a process of its own, unless that was done before."""
    if score_of(cell, work) is not None:
        return
    if cell.way == TRAINER:
        command = [sys.executable, str(Path(__file__).with_name("trainer_way.py")), "--task", cell.task]
        command += ["--seed", str(cell.seed), "--data", str(data), "--encoder", str(minilm())]
        command += ["--betas", *map(str, BETAS), "--out", str(trainer_file(cell, work))]
        command += [word for key, value in cell.words.items() for word in (f"--{key.replace('_', '-')}", value)]
    else:
        command = [sys.executable, "-m", "glue_bench", "run", f"task={cell.task}", f"seed={cell.seed}"]
        command += ["encoder=minilm", "data=local", f"data.path={data}", "trainer.device=cpu"]
        command += [f"results_dir={results_of(cell, work)}", f"trainer.betas=[{BETAS[0]},{BETAS[1]}]"]
        command += VARIANTS[cell.way]
        for key, value in cell.words.items():
            command.append(f"{'data' if key == 'max_train_rows' else 'trainer'}.{key}={value}")
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def score_of(cell: Cell, work: Path) -> float | None:
    """A finished run's score, times 100."""
    metric = TASKS[cell.task].metric
    if cell.way == TRAINER:
        out = trainer_file(cell, work)
        return 100 * float(json.loads(out.read_text())["scores"][metric]) if out.exists() else None
    for path in (results_of(cell, work) / "runs" / "minilm" / cell.task).glob(f"seed{cell.seed}-*/record.json"):
        record = json.loads(path.read_text())
        if record["status"] == "finished":
            return 100 * float(record["scores"]["validation"][metric])
    return None


def results_of(cell: Cell, work: Path) -> Path:
    """Where a way of ours keeps its runs."""
    return work / cell.way.rpartition(" ")[2]


def trainer_file(cell: Cell, work: Path) -> Path:
    """What the Trainer's process writes when it is done."""
    return work / f"trainer-{cell.task}-{cell.seed}.json"


def make_table(scores: dict[Cell, float]) -> str:
    """Markdown, scores times 100."""
    heads = [f"seed {seed}" for seed in SEEDS[OURS]]
    lines = [
        f"| task | metric | way | {' | '.join(heads)} | mean | sd | difference | margin | equivalent |",
        f"|---|---|---{'|--:' * (len(heads) + 4)}|---|",
    ]
    for task, facts in TASKS.items():
        found = {way: [scores[c] for seed in SEEDS[way] if (c := Cell(way, task, seed)) in scores] for way in SEEDS}
        for way, values in found.items():
            if len(values) < 2:
                continue
            shown = [f"{values[at]:.1f}" if at < len(values) else "" for at in range(len(heads))]
            cells = [task, facts.metric, way, *shown, f"{statistics.fmean(values):.1f}"]
            cells.append(f"{statistics.stdev(values):.1f}")
            theirs = found[TRAINER]
            if way != TRAINER and len(theirs) > 1:
                p = equivalence(values, theirs, facts.margin)
                difference = statistics.fmean(values) - statistics.fmean(theirs)
                cells += [
                    f"{difference:+.1f}",
                    f"{facts.margin:.1f}",
                    f"{'yes' if p < 0.05 else 'not shown'} (p {p:.3f})",
                ]
            else:
                cells += ["", "", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def equivalence(ours: Sequence[float], theirs: Sequence[float], margin: float) -> float:
    """The larger p of two one-sided Welch tests: that the means differ by less than the margin either way."""
    below = ttest_ind(ours, np.asarray(theirs) - margin, equal_var=False, alternative="greater").pvalue
    above = ttest_ind(ours, np.asarray(theirs) + margin, equal_var=False, alternative="less").pvalue
    return float(max(below, above))


if __name__ == "__main__":
    main()
