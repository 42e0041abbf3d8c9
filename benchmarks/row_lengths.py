"""How long GLUE's texts are in tokens: measures row_lengths.json, from which gpu_material.py makes rows.

    python benchmarks/row_lengths.py --data FOLDER     # FOLDER/TASK/SPLIT.parquet

For each text column of a task: quantiles of the number of tokens, special ones not counted, and the rank correlation of
the two columns. The tokenizer is MiniLM's (the extra `sample`), whose lengths are close to RoBERTa's. Tasks whose rows
are not there take another task's shape, stretched to a mean.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from material import minilm
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from glue_bench.config.compose import compose_run

TABLE = Path(__file__).with_name("row_lengths.json")
POINTS = [0, 1, 2.5, 5, *range(10, 95, 5), 95, 97.5, 99, 99.5, 99.9, 100]  # percent
ROWS = 20_000  # of a task at most
# Task: the shape of each column, and its mean in tokens; together the mean rows of 31 and 73 tokens that the two have.
BORROWED = {"stsb": (("mrpc", 0, 13.5), ("mrpc", 1, 13.5)), "rte": (("qnli", 1, 57.0), ("mnli", 1, 12.0))}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    words = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    tasks = {}
    for path in sorted(words.data.glob("*/train.parquet")):
        tasks[path.parent.name] = measure(path, tokenizer)
    for task, columns in BORROWED.items():
        shapes = [(tasks[other], place, mean) for other, place, mean in columns]
        stretched = [
            [round(value * mean / facts["means"][place], 1) for value in facts["quantiles"][place]]
            for facts, place, mean in shapes
        ]
        source = ", ".join(f"text {place + 1} of {other}" for other, place, _ in columns)
        tasks[task] = {
            "source": f"not measured: the shape of {source}, stretched to the means",
            "means": [mean for _, _, mean in shapes],
            "correlation": 0.0,
            "quantiles": stretched,
        }
    lines = [f" {json.dumps(name)}: {json.dumps(facts)}" for name, facts in tasks.items()]
    about = json.dumps(" ".join((__doc__ or "").split(":")[0].split()) + f"; points are percent: {POINTS}")
    TABLE.write_text(f'{{"about": {about},\n"points": {POINTS},\n"tasks": {{\n' + ",\n".join(lines) + "\n}}\n")


def measure(path: Path, tokenizer: Any) -> dict[str, Any]:
    """Measure one file."""
    frame = pd.read_parquet(path)
    frame = frame.sample(min(ROWS, len(frame)), random_state=1)
    columns = compose_run([f"task={path.parent.name}"]).task.texts
    lengths = [
        np.array([len(ids) for ids in tokenizer(frame[column].tolist(), add_special_tokens=False)["input_ids"]])
        for column in columns
    ]
    correlation = float(spearmanr(*lengths).statistic) if len(lengths) == 2 else 0.0
    return {
        "source": f"{len(frame)} training rows",
        "means": [round(float(column.mean()), 2) for column in lengths],
        "correlation": round(correlation, 2),
        "quantiles": [[round(float(q), 1) for q in np.percentile(column, POINTS)] for column in lengths],
    }


if __name__ == "__main__":
    main()
