"""Fixtures: tiny encoders and data shared by a test session, and separate folders for every test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before any hub client is imported: no test may reach a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"  # before any import of Triton: the CPU runs the GPU's kernels, slowly

Result = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a tiny RoBERTa."""
    from tests.support.tiny import make_tiny_roberta

    return make_tiny_roberta(tmp_path_factory.mktemp("encoders") / "tiny_roberta")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a tiny BERT."""
    from tests.support.tiny import make_tiny_bert

    return make_tiny_bert(tmp_path_factory.mktemp("encoders") / "tiny_bert")


@pytest.fixture(scope="session")
def quiet_roberta(tiny_roberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tiny RoBERTa without dropout."""
    folder = Path(shutil.copytree(tiny_roberta, tmp_path_factory.mktemp("encoders") / "quiet_roberta"))
    config = folder / "config.json"
    config.write_text(config.read_text().replace('_dropout_prob": 0.1', '_dropout_prob": 0.0'))
    return folder


@pytest.fixture(scope="session")
def local_glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with small tasks."""
    from tests.support.tiny import make_local_glue

    return make_local_glue(tmp_path_factory.mktemp("data") / "glue")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_roberta: Path, local_glue: Path) -> Path:
    """Make a finished run of each kind of task, with its weights; not to be changed."""
    from glue_bench.cli import main

    folder = tmp_path_factory.mktemp("trained") / "results"
    words = [f"encoder.path={tiny_roberta}", "encoder.name=tiny", f"data.path={local_glue}", f"results_dir={folder}"]
    shared = ["encoder=custom", "data=local", "trainer.epochs=1", "trainer.device=cpu", "save_model=true"]
    assert main(["run", "-m", "task=rte,sst2,stsb,mnli", *words, *shared]) == 0
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what fixtures of a session compute out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test its own working folder and caches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))


@pytest.fixture
def tiny_words(tiny_roberta: Path, local_glue: Path, tmp_path: Path) -> list[str]:
    """Return overrides that make a run take a second: tiny encoder, small local data, one epoch."""
    return [
        "encoder=custom",
        f"encoder.path={tiny_roberta}",
        "encoder.name=tiny",
        "data=local",
        f"data.path={local_glue}",
        "trainer.epochs=1",
        "trainer.device=cpu",
        f"results_dir={tmp_path / 'results'}",
    ]


@pytest.fixture
def glue_bench(tmp_path: Path) -> Callable[..., Result]:
    """Start Python and run the command line, in an empty folder."""

    def call(*words: str, env: dict[str, str] | None = None, timeout: float = 120) -> Result:
        return subprocess.run(
            [sys.executable, "-m", "glue_bench", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture
def forked_glue_bench(tmp_path: Path) -> Callable[..., Result]:
    """Run the command line in a process that is forked, in an empty folder: see tests.support.warm."""
    from tests.support import warm

    return lambda *words: warm.run([sys.executable, "-m", "glue_bench", *words], cwd=tmp_path, timeout=120)


@pytest.fixture
def hub_port() -> int:
    """Choose a port for a HubServer, the same for all tests of this process and out of the range of other programs'."""
    return 20000 + os.getpid() % 10000


@pytest.fixture
def hub_bench(
    hub_port: int, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run the command line as `forked_glue_bench` does, with a hub at `hub_port` and an empty HF_HOME."""
    from tests.support import warm

    home = tmp_path_factory.getbasetemp() / "hub_home"
    shutil.rmtree(home, ignore_errors=True)
    monkeypatch.setenv("HF_HOME", str(home))
    place = {"HF_ENDPOINT": f"http://127.0.0.1:{hub_port}", "HF_HUB_OFFLINE": "0", "HF_HOME": str(home)}
    kind = type("HubProcess", (warm.WarmProcess,), {"loaded_with": tuple(place.items())})
    return lambda *words: warm.run([sys.executable, "-m", "glue_bench", *words], cwd=tmp_path, timeout=120, kind=kind)
