"""The doctor: every problem provoked for real, each with advice."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_sweep
from glue_bench.config.schema import RunConfig
from glue_bench.doctor import NOTE, OK, PROBLEM, Finding, examine_disk, examine_installation
from glue_bench.doctor.sweep import examine_device, examine_inputs, examine_results
from glue_bench.runs.store import RunStore
from tests.conftest import Result
from tests.support.findings import advised
from tests.support.making import make_record
from tests.support.tiny import pair_columns, write_parquet


def by_name(text: str) -> dict[str, dict[str, str]]:
    """Return the findings of the JSON output by name."""
    return {finding["name"]: finding for finding in json.loads(text)["findings"]}


def test_a_sweep_that_would_work_has_no_problem_and_nothing_is_written(
    tiny_words: list[str], tmp_path: Path, glue_bench: Callable[..., Result]
) -> None:
    result = glue_bench("doctor", *tiny_words, "tasks=[rte,mnli]", "seeds=[1,2]", "--format", "json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["ready"] is True
    found = by_name(result.stdout)
    names = ["Python", "packages", "sweep", "machine", "results", "hub", "encoder tiny", "data", "device", "disk"]
    assert set(names) <= found.keys()
    assert "4 runs: rte, mnli; 2 seeds; tiny; data=local" in found["sweep"]["found"]
    assert found["device"]["found"].startswith("cpu: ")
    assert "not needed" in found["hub"]["found"]
    assert list(tmp_path.iterdir()) == []
    assert main(["sweep", *tiny_words, "tasks=[rte]", "seeds=[1]", "executor=serial"]) == 0


def test_problems_come_with_advice_and_exit_code_3(tmp_path: Path, glue_bench: Callable[..., Result]) -> None:
    (tmp_path / "taken").write_text("a file")
    words = ["encoder=custom", "encoder.package=nosuchpackage/model", "data=local", "data.path=nowhere"]
    words += ["results_dir=taken/results", "executor=slurm"]  # Slurm: torch is not asked, which takes seconds
    result = glue_bench("doctor", *words, env={"FORCE_COLOR": "1", "PATH": str(tmp_path)})
    assert result.returncode == 3
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert result.stdout.isascii()
    lines = result.stdout.splitlines()
    problems = [number for number, line in enumerate(lines) if line.startswith("problem  ")]
    for number, name in zip(problems, ("results", "encoder model", "data", "Slurm"), strict=True):
        assert lines[number].startswith(f"problem  {name}")
    assert result.stdout.count("-> ") >= len(problems)
    assert "the Python package nosuchpackage is not installed" in result.stdout
    assert "nowhere/mnli/train.parquet: no such file" in result.stdout
    slurm = "squeue cannot be started: No such file or directory; is this a login node of a Slurm cluster?"
    assert slurm in " ".join(result.stdout.split())
    assert lines[-1].startswith("4 problems would stop this sweep")


@pytest.mark.parametrize("other", ["rich", "packaging"])
def test_a_broken_package_is_a_finding_even_where_tables_need_it(
    other: str, tmp_path: Path, glue_bench: Callable[..., Result]
) -> None:
    for name in ("hydra", other):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(f"raise ImportError('{name} is in two halves')\n")
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    result = glue_bench("doctor", env={"PYTHONPATH": path})
    assert result.returncode == 3
    assert "ImportError: hydra is in two halves" in result.stdout
    assert ("ok       Python" in result.stdout) is (other == "rich")
    assert "Traceback" not in result.stderr


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a package different metadata."""

    def install(name: str, version: str, *lines: str) -> None:
        folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
        (folder / "METADATA").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return install


def test_versions_are_compared_with_the_ranges_of_the_metadata(installed: Callable[..., None]) -> None:
    lines = ["Requires-Dist: torch<3,>=2.13", "Requires-Dist: no-such-package>=2"]
    lines += ["Requires-Dist: numpy>=1", 'Requires-Dist: nor-this>=1; extra == "sample"', "Provides-Extra: sample"]
    installed("glue-bench", "9.9", *lines)
    installed("torch", "2.4.0")
    findings = {finding.name: finding for finding in examine_installation()}
    advised(list(findings.values()))
    assert (findings["torch"].state, findings["torch"].advice) == (NOTE, "pip install 'torch<3,>=2.13'")
    assert "2.4.0; glue-bench is tested with <3,>=2.13" in findings["torch"].found
    assert findings["no-such-package"].state == PROBLEM
    assert "numpy" in findings["packages"].found
    assert "torch" not in findings["packages"].found
    assert "nor-this" not in findings  # a sweep that needs an extra has a finding of its own


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise OSError('libcudart.so.12: cannot open shared object file')", "OSError: libcudart.so.12"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "ended with SIGILL"),
    ],
)
def test_a_torch_that_cannot_be_loaded_is_a_finding(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")]))
    (config,) = compose_sweep(["tasks=[rte]", "data=sample"]).configs
    findings = list(examine_device(config, runs=5))
    assert advised(findings) == [PROBLEM]
    assert said in findings[0].found
    assert "pytorch.org" in findings[0].advice


def test_encoders_that_a_run_could_not_load_are_problems(tiny_roberta: Path, tmp_path: Path) -> None:
    words, configs = ["tasks=[rte]", "data=sample"], list[RunConfig]()
    for name in ("good", "short", "other"):
        shutil.copytree(tiny_roberta, tmp_path / name)
        configs += compose_sweep([*words, f"encoder={tmp_path / name}"]).configs
    content = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**content, "num_hidden_layers": 9}))
    configs[1].trainer.max_length = 999
    findings = list(examine_device(configs[0], runs=3, here=configs))
    found = {each.name: each.found for each in findings if each.state == PROBLEM}
    assert found.keys() == {"encoder short", "encoder other"}
    assert found["encoder short"].startswith("trainer.max_length=999: this encoder has positions for at most")
    assert "its weights lack encoder.layer." in found["encoder other"]


def test_a_missing_device_is_a_problem() -> None:
    (config,) = compose_sweep(["tasks=[rte]", "data=sample", "trainer.device=cuda:99"]).configs
    (finding,) = examine_device(config, runs=5)
    assert finding.state == PROBLEM
    assert "trainer.device=cuda:99: this machine has" in finding.found
    assert finding.advice == "trainer.device=auto"


def test_the_runs_at_a_time_are_those_that_a_sweep_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, Any] = {"device": "cuda", "name": "a GPU", "precision": "bfloat16", "torch": "2", "remarks": []}
    facts |= {"gpus": 3, "memory": 80e9, "free": 1e9}  # pretend that the machine has three GPUs
    monkeypatch.setattr("glue_bench.doctor.sweep.ask_torch", lambda **_: facts)
    (config,) = compose_sweep(["tasks=[rte]", "data=sample", "executor.runs_per_gpu=2"]).configs
    (finding,) = examine_device(config, runs=40)
    assert (finding.state, "; 6 runs at a time" in finding.found) == (NOTE, True)
    assert "79 GB" in finding.advice
    (config,) = compose_sweep(["tasks=[rte]", "data=sample", "executor=serial"]).configs
    (finding,) = examine_device(config, runs=40)
    assert "; 1 run at a time" in finding.found


def data_of(configs: Sequence[RunConfig]) -> Finding:
    """Return the finding on the rows of these tasks."""
    return examine_inputs([], configs[0].data, tasks=[config.task for config in configs])[0][1]


def test_splits_missing_from_a_folder_are_named(local_glue: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(local_glue, tmp_path / "glue")
    (folder / "mnli" / "validation_mismatched.parquet").unlink()
    (folder / "rte" / "train.csv").write_text("a duplicate")
    configs = compose_sweep(["tasks=[mnli,rte,mrpc]", "data=local", f"data.path={folder}"]).configs
    found = data_of(configs)
    assert advised(found) == [PROBLEM]
    assert f"mnli: {folder / 'mnli' / 'validation_mismatched.parquet'}: no such file" in found.found
    assert f"rte: {folder / 'rte'}: " in found.found
    whole = data_of(configs[2:])
    assert (whole.state, "every split of 1 task, 68 rows read" in whole.found) == (OK, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": [2] * 48}, "train.parquet row 1: label is 2; it must be one of 0 (entailment), 1 (not_entailment)"),
        ({"sentence2": None}, "train.parquet: no column 'sentence2'; it has sentence1, label, idx"),
    ],
    ids=["label", "column"],
)
def test_a_wrong_label_or_column_is_found_before_torch_is_loaded(
    change: dict[str, list[object] | None], said: str, local_glue: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(local_glue, tmp_path / "glue")
    columns = {**pair_columns(48, seed=1), **change}
    write_parquet(folder / "rte" / "train.parquet", {name: values for name, values in columns.items() if values})
    code = f"""
import sys
from glue_bench.config.compose import compose_sweep
from glue_bench.doctor.sweep import examine_inputs
(config,) = compose_sweep(["task=rte", "data=local", "data.path={folder}"]).configs
print(examine_inputs([], config.data, tasks=[config.task])[0][1].found)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_a_task_without_sample_rows_is_a_problem() -> None:
    configs = compose_sweep(["tasks=[rte,wnli]", "data=sample"]).configs
    found = data_of(configs)
    assert advised(found) == [PROBLEM]
    assert "no sample rows for task=wnli" in found.found


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a readable model configuration"),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
    ],
)
def test_an_encoder_folder_that_could_not_be_loaded_is_a_problem(
    damage: Callable[[Path], object], said: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_roberta, tmp_path / "encoder")
    damage(folder)
    (config,) = compose_sweep(["tasks=[rte]", "data=sample", "encoder=custom", f"encoder.path={folder}"]).configs
    found = examine_inputs([config.encoder], config.data, tasks=[config.task])[0][1]
    assert advised(found) == [PROBLEM]
    assert said in found.found


def test_earlier_results_are_counted_and_left_as_they_are(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    store.save(make_record(seed=1))
    store.save(make_record(seed=2, status="failed", error="why"))
    store.save(make_record(seed=3)).write_text('{"half": ')
    before = sorted(tmp_path.rglob("*"))
    (found,) = examine_results(store)
    assert found.found.endswith("can be written; 1 finished, 1 failed; 1 folder ignored")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["/proc/results", "/dev/null/results", "x" * 300])
def test_a_folder_of_results_that_cannot_be_written_is_a_problem(place: str) -> None:
    (found,) = examine_results(RunStore(Path(place)))
    assert advised(found) == [PROBLEM]
    assert "results_dir=FOLDER" in found.advice


def test_all_needs_on_one_disk_are_added_up(tmp_path: Path) -> None:
    part = shutil.disk_usage(tmp_path).free * 2 // 3
    assert advised(list(examine_disk({tmp_path / "a" / "b": part}))) == [OK]
    (found,) = examine_disk({tmp_path / "a" / "b": part, tmp_path / "c": part})
    assert (found.state, f"{tmp_path}/a/b and {tmp_path}/c" in found.found) == (PROBLEM, True)


def test_the_runs_that_others_start_from_are_counted_with_the_seeds_of_the_sweep() -> None:
    from glue_bench.config.compose import compose_starts
    from glue_bench.doctor.sweep import examine_sweep

    words = ["tasks=[rte]", "seeds=[1,2]", "init=mnli", "data=sample", "encoder=minilm"]
    sweep = compose_sweep(words)
    parents = compose_starts(sweep.configs[0], words)
    assert next(iter(examine_sweep(sweep, parents))).found.startswith("4 runs: rte; 2 seeds")
