"""Test rows from the hub, at the commit that a run's own rows came from."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Result
from tests.support.commits import DATA_COMMIT, MODEL_COMMIT
from tests.support.hub_server import HubServer
from tests.support.tiny import sentences, write_parquet

OTHERS = [word for task in ("cola", "mrpc", "mnli", "qnli", "qqp", "rte", "stsb") for word in ("--fill", task)]


def write_split(folder: Path, task: str, split: str, rows: int, *, hidden: bool) -> None:
    texts: list[object] = list(sentences(rows, seed=rows))
    labels: list[object] = [-1 if hidden else int("cat" in str(text)) for text in texts]
    if task == "wnli":
        columns = {"sentence1": texts, "sentence2": texts[::-1], "label": labels}
    else:
        columns = {"sentence": texts, "label": labels}
    path = folder / task / f"{split}-00000-of-00001.parquet"
    write_parquet(path, {**columns, "idx": list[object](range(rows))})


def test_test_rows_come_from_the_hub_once_and_a_hub_with_too_few_is_reported(
    tiny_roberta: Path,
    tmp_path: Path,
    hub_port: int,
    hub_bench: Callable[..., Result],
    glue_bench: Callable[..., Result],
) -> None:
    root = tmp_path / "hub"
    for task, rows in (("sst2", 1821), ("wnli", 145)):
        for split, count in (("train", 24), ("validation", 24), ("test", rows)):
            write_split(root / "glue", task, split, count, hidden=split == "test")
    shutil.copytree(tiny_roberta, root / "model")
    with HubServer(root, port=hub_port) as server:
        server.add_repo("dataset", "nyu-mll/glue", DATA_COMMIT, Path("glue"))
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("model"))
        words = ("tasks=[sst2,wnli]", "seeds=[1]", "trainer.epochs=1", "executor=serial", "save_model=true")
        result = hub_bench("sweep", *words)
        assert result.returncode == 0, result.stderr
        assert not [request for request in server.requests if "/test-" in request]  # no test rows were requested
        refused = hub_bench("submit", "build", *OTHERS)
        assert refused.returncode == 3
        found, last = refused.stderr.splitlines()
        assert found.startswith("WNLI.tsv: ")
        assert found.endswith("test-00000-of-00001.parquet: 145 rows; the leaderboard wants predictions for 146")
        assert last.startswith("glue-bench: submit build: ")
        built = hub_bench("submit", "build", *OTHERS, "--fill", "wnli", "--out", "first.zip")
        assert built.returncode == 0, built.stderr
        assert any(f"{DATA_COMMIT}/sst2/test-" in request for request in server.requests)
    again = glue_bench("submit", "build", *OTHERS, "--fill", "wnli", "--out", "again.zip")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "first.zip").read_bytes()
    assert hub_bench("submit", "check", "first.zip").returncode == 0
