"""Runs with test rows, from which zips are built."""

import dataclasses
import shutil
from pathlib import Path

from glue_bench.cli import main
from glue_bench.config.compose import compose_task
from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.store import RunStore
from glue_bench.submission.layout import LeaderboardFile, lay_out
from tests.support.tiny import NOUNS, pair_columns, sentences, write_parquet

# The leaderboard's rows of the tasks that have a model here; the others are filled.
TEST_ROWS = {
    "sst2/test": 1821,
    "stsb/test": 1379,
    "mnli/test_matched": 9796,
    "mnli/test_mismatched": 9847,
    "ax/test": 1104,
}


FILLS = [word for task in ("cola", "mrpc", "qnli", "qqp", "rte", "wnli") for word in ("--fill", task)]


def write_test_rows(folder: Path, place: str, rows: int) -> Path:
    """Write test rows as the hub has them, but with unreadable labels."""
    pairs = pair_columns(rows, seed=sum(map(ord, place)))
    columns: dict[str, list[object]] = {"label": ["not to be read"] * rows, "idx": list(range(rows))}
    if place.startswith("sst2"):
        columns["sentence"] = list(sentences(rows, seed=8))
    elif place.startswith(("mnli", "ax")):
        columns |= {"premise": pairs["sentence1"], "hypothesis": pairs["sentence2"]}
    else:
        columns |= {"sentence1": pairs["sentence1"], "sentence2": pairs["sentence2"]}
    return write_parquet(folder / f"{place}.parquet", columns)


def write_learnable_mnli(path: Path) -> None:
    """Write three classes that the first noun decides, so that a tiny model predicts all of them."""
    first, second = sentences(500, seed=5), sentences(500, seed=6)
    label = [min(NOUNS.index(text.split()[1]) // 3, 2) for text in first]
    write_parquet(path, {"premise": list(first), "hypothesis": list(second), "label": list(label)})


@dataclasses.dataclass(frozen=True)
class Bench:
    """Finished runs with their weights, and a data set with test rows."""

    glue: Path
    results: Path
    words: list[str]  # that made the runs

    def copy(self, folder: Path) -> "Bench":
        """Copy the bench, to change it."""
        shutil.copytree(self.results, folder / "results")
        shutil.copytree(self.glue, folder / "glue")
        words = [f"data.path={folder / 'glue'}" if word.startswith("data.path=") else word for word in self.words]
        return Bench(folder / "glue", folder / "results", words)

    def build(self, *words: str) -> int:
        """Run `submit build` with these results."""
        return main(["submit", "build", f"results_dir={self.results}", "trainer.device=cpu", *words])

    def run(self, task: str, seed: int = 1) -> FinishedRun:
        """Return one of the runs."""
        return find_finished(RunStore(self.results), task=task, seed=seed, need_model=True)


def layout(task: str) -> tuple[LeaderboardFile, ...]:
    return lay_out([compose_task(task)])
