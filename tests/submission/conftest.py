"""The leaderboard's files, and runs with a zip made from them."""

import dataclasses

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_task
from glue_bench.submission.layout import LeaderboardFile, lay_out
from tests.support.building import FILLS, TEST_ROWS, Bench, write_learnable_mnli, write_test_rows
from tests.support.tiny import make_local_glue, make_tiny_roberta
from tests.support.zips import ROWS, TASKS


@pytest.fixture(scope="session")
def official() -> tuple[LeaderboardFile, ...]:
    """Return the leaderboard's files."""
    return lay_out([compose_task(name) for name in TASKS])


@pytest.fixture(scope="session")
def files(official: tuple[LeaderboardFile, ...]) -> tuple[LeaderboardFile, ...]:
    """Return the same files with few rows."""
    return tuple(dataclasses.replace(file, rows=ROWS) for file in official)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Train runs of three tasks, and build a zip from them; not to be changed."""
    root = tmp_path_factory.mktemp("submission")
    glue, encoder = make_local_glue(root / "glue", train=256), make_tiny_roberta(root / "tiny")
    for place, rows in TEST_ROWS.items():
        write_test_rows(glue, place, rows)
    write_learnable_mnli(glue / "mnli" / "train.parquet")
    words = ["encoder=custom", f"encoder.path={encoder}", "encoder.name=tiny", "data=local", f"data.path={glue}"]
    words += ["trainer.epochs=6", "trainer.learning_rate=3e-3", "trainer.device=cpu"]
    bench = Bench(glue, root / "results", words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_BENCH_CACHE", str(root / "cache"))
        for task, seed in (("sst2", 1), ("sst2", 2), ("sst2", 3), ("stsb", 1), ("mnli", 1)):
            command = ["run", f"task={task}", f"seed={seed}", *words, "save_model=true", f"results_dir={bench.results}"]
            assert main(command) == 0
        assert bench.build(*FILLS) == 0
    return bench
