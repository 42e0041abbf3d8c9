"""Whatever the locale says, names of files are UTF-8, and text that a terminal cannot show is no error."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glue_bench.runs.store import RunStore
from tests.conftest import Result

ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
OWN_TASK = """\
name: eigene
title: Größe → 大
texts: [sentence1, sentence2]
labels: [ja, nö]
kind: classification
metrics: [accuracy]
train: train
validation: [validation]
"""


def own_task(folder: Path) -> Path:
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "eigene.yaml").write_text(OWN_TASK, encoding="utf-8")
    return folder


def test_every_path_may_be_non_ascii_under_an_ascii_locale(
    glue_bench: Callable[..., Result], tiny_roberta: Path, local_glue: Path, tmp_path: Path
) -> None:
    home = tmp_path / "zuhause-ü"
    shutil.copytree(tiny_roberta, tmp_path / "modèle")
    shutil.copytree(local_glue / "rte", tmp_path / "données" / "eigene")
    own = own_task(tmp_path / "conf-é")
    words = ["encoder=custom", "encoder.path=modèle", "data=local", "data.path=données", "results_dir=résultats-大"]
    words += ["tasks=[eigene]", "seeds=[1]", "trainer.updates=2", "trainer.device=cpu", "save_model=true"]
    variables = {"LC_ALL": "C", "HOME": str(home), "HF_HOME": "", "GLUE_BENCH_CACHE": "", "XDG_CACHE_HOME": ""}
    result = glue_bench("sweep", *words, "--config-dir", str(own), env={**ASCII, **variables})
    assert result.returncode == 0, result.stderr
    (record,) = RunStore(tmp_path / "résultats-大").load_all()
    assert (record.status, record.encoder["name"]) == ("finished", "modèle")
    assert (tmp_path / "résultats-大" / "runs" / Path(*record.place) / "model" / "model.safetensors").is_file()
    assert list((home / ".cache" / "glue-bench" / "encoded").iterdir())


@pytest.mark.parametrize(
    "variables",
    [{"LC_ALL": "POSIX"}, {"LANG": "C", "LC_ALL": ""}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}],
    ids=str,
)
def test_text_that_is_not_ascii_is_printed_or_replaced(
    variables: dict[str, str], glue_bench: Callable[..., Result], tmp_path: Path
) -> None:
    result = glue_bench("tasks", "--config-dir", str(own_task(tmp_path / "conf-é")), env={**ASCII, **variables})
    assert result.returncode == 0, result.stderr
    assert "eigene" in result.stdout
    wrong = glue_bench("tasks", "größe=大", env={**ASCII, **variables})
    assert wrong.returncode == 2
    assert "`tasks` takes no KEY=VALUE" in wrong.stderr
