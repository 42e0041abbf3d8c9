"""Plans: what is missing, in which order, how long; as a table and as a file whose lines run by themselves."""

import dataclasses
import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_sweep
from glue_bench.config.task import HALF
from glue_bench.runs.identity import make_requests
from glue_bench.runs.lease import Lease, take_lease
from glue_bench.runs.store import RunStore, write_history
from glue_bench.sweep import local
from glue_bench.sweep.local import deal_out
from glue_bench.sweep.plan import fetch_inputs, plan_runs, tidy_up
from glue_bench.sweep.timing import seconds_in_all
from tests.support.making import executor, make_record
from tests.support.planning import names, request
from tests.support.tiny import write_parquet


def test_a_missing_parent_joins_the_plan_before_its_child(tmp_path: Path) -> None:
    store, parent = RunStore(tmp_path), request("mnli")
    child = request("rte", starts=(parent,))
    plan = plan_runs([child, request("cola")], store, retry_failed=False)
    assert names(plan.missing) == ["mnli-1", "rte-1", "cola-1"]
    assert names(plan.requests) == ["mnli-1", "rte-1", "cola-1"]
    store.save(make_record(task="rte", setting="rte"))
    plan = plan_runs([child, request("cola")], store, retry_failed=False)
    assert (names(plan.missing), list(plan.records)) == (["cola-1"], [child.run_id])
    assert names(plan.requests) == ["mnli-1", "rte-1", "cola-1"]  # the numbers of a plan file's lines
    assert [plan.state(each) for each in plan.requests] == ["not needed", "done", "missing"]
    assert names(plan.concerned) == ["rte-1", "cola-1"]


def test_a_run_that_is_asked_for_and_a_parent_is_one_run_that_keeps_its_model(tmp_path: Path) -> None:
    asked = request("mnli")
    keeping = dataclasses.replace(asked, config=dataclasses.replace(asked.config, save_model=True))
    plan = plan_runs([asked, request("rte", starts=(keeping,))], RunStore(tmp_path), retry_failed=False)
    assert names(plan.missing) == ["mnli-1", "rte-1"]
    assert plan.missing[0].config.save_model


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory", True),
        ("MemoryError", True),
        ("OSError: [Errno 28] No space left on device: 'results/x'", True),
        ("OSError: [Errno 122] Disk quota exceeded", True),
        ("OSError: [Errno 12] Cannot allocate memory", True),
        ("its process was killed by SIGKILL; often the system does that when memory runs out", True),
        ("its job 7_1 ended without a result (OUT_OF_MEMORY, exit code 0:125)", True),
        ("encoder folder tiny: its weights cannot be loaded (CUDA driver error: out of memory)", True),
        ("ImportError: libtorch_cpu.so: failed to map segment from shared object", True),
        ("encoder folder tiny: its weights cannot be loaded (can't start new thread)", True),
        ("no sign of progress for 5 minutes (executor.timeout), so its process was killed", False),
        ("its process was killed by SIGSEGV; its output is in output.log", False),
        ("its job 7_1 ended without a result (FAILED, exit code 1:0)", False),
        ("IndexError: index 7 is out of bounds", False),
        ("train.csv row 3: no label", False),
    ],
)
def test_only_what_failed_for_lack_of_room_is_repeated_unasked(error: str, repeated: bool, tmp_path: Path) -> None:
    store, asked = RunStore(tmp_path), request("rte")
    store.save(make_record(task="rte", setting="rte", status="failed", error=error, ended="1"))
    plan = plan_runs([asked], store, retry_failed=False)
    assert bool(plan.missing) is repeated is (plan.earlier.keys() == {asked.run_id})
    diverged = make_record(task="rte", setting="rte", status="diverged", error=error)
    store.save(diverged)
    assert plan_runs([asked], store, retry_failed=False).missing == []


def test_a_plan_updates_records_in_memory_and_a_sweep_writes_them_under_a_lease(tmp_path: Path) -> None:
    store, asked = RunStore(tmp_path), request("rte")
    record = make_record(task="rte", setting="rte", reasons=("no official row counts are known for rte",))
    old = {**record.config, "task": {**record.config["task"], "title": "an old title"}}
    path = store.save(dataclasses.replace(record, config=old))
    before = path.read_bytes()
    plan = plan_runs([asked], store, retry_failed=False)
    assert plan.records[asked.run_id].comparable
    assert path.read_bytes() == before
    lease = take_lease(path.parent)
    assert isinstance(lease, Lease)
    tidy_up(plan, store)
    assert path.read_bytes() == before
    lease.release(done=True)
    tidy_up(plan, store)
    found = store.load(*asked.place)
    assert found is not None
    assert (found.comparable, found.config["task"]["title"]) == (True, "RTE")


def test_a_run_scored_on_half_of_the_official_rows_stays_as_it_was_recorded(tmp_path: Path) -> None:
    store, asked = RunStore(tmp_path), request("rte")
    record = make_record(task="rte", setting="rte", reasons=(HALF,), selection="halves")
    half = {"rows": {**record.data["rows"], "validation": 139}, "choosing": {"validation": 138}}
    store.save(dataclasses.replace(record, data={**record.data, **half}))
    plan = plan_runs([asked], store, retry_failed=False)
    assert (plan.outdated, plan.records[asked.run_id].not_comparable_because) == (set(), [HALF])


@pytest.mark.parametrize(("newer", "kept"), [(-5, False), (5, True)])
def test_snapshots_of_a_training_that_keeps_its_model_survive_a_plain_sweep(
    newer: int, kept: bool, tmp_path: Path
) -> None:
    store, asked, record = RunStore(tmp_path), request("rte"), make_record(task="rte", setting="rte")
    folder = store.save(record).parent
    write_history(folder / "history.jsonl", [record])
    snapshot = folder / "snapshots" / "step-0000000010" / "manifest.json"
    snapshot.parent.mkdir(parents=True)
    snapshot.touch()
    ended = (folder / "history.jsonl").stat().st_mtime
    os.utime(snapshot, (ended + newer, ended + newer))
    tidy_up(plan_runs([asked], store, retry_failed=False), store)
    assert snapshot.exists() == kept
    assert store.load(*asked.place) == record
    assert not list(folder.glob("claim-*"))


def test_a_grid_reads_the_weights_and_the_rows_once(
    tiny_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, digest = Counter[str](), hashlib.file_digest

    def count(stream: Any, name: str) -> Any:
        read[Path(stream.name).name] += 1
        return digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", count)
    folder = tmp_path / "encoder"
    shutil.copytree(next(word.partition("=")[2] for word in tiny_words if word.startswith("encoder.path=")), folder)
    words = [*tiny_words, f"encoder.path={folder}", "recipe=roberta_paper", "tasks=[rte,mrpc]", "seeds=[1]"]
    sweep = compose_sweep(words)
    assert len(sweep.configs) == 12
    requests = [each for config in sweep.configs for each in make_requests(config, sweep.seeds)]
    fetch_inputs(requests)
    assert len({each.run_id for each in requests}) == 12
    assert read["model.safetensors"] == 1
    assert read["train.parquet"] <= 2  # one for each task; other tests may have read them
    (folder / "config.json").touch()
    (changed, *_) = make_requests(sweep.configs[0], [1])
    assert changed.run_id == requests[0].run_id
    assert read["config.json"] == 2


def test_a_sweep_that_was_to_keep_models_and_could_not_ends_with_1(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep", "executor=serial", "tasks=[rte]", "seeds=[1]", *tiny_words]
    assert main(words) == 0
    before = list(RunStore(tmp_path / "results").load_all())

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the wheel came off")

    with monkeypatch.context() as broken:
        broken.setattr("glue_bench.runs.experiment.load_trainable", break_down)
        assert main([*words, "save_model=true"]) == 1
    assert "its result is kept, but training it again failed: the wheel came off" in capsys.readouterr().err
    assert list(RunStore(tmp_path / "results").load_all()) == before
    assert main([*words, "save_model=true"]) == 0


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12.0), (2, 6.0), (9, 5.0)])
def test_the_time_in_all_is_that_of_workers_who_take_the_next_run_when_free(workers: int, seconds: float) -> None:
    assert seconds_in_all([5.0, 3.0, 3.0, 1.0], workers=workers) == seconds


def test_a_small_memory_means_fewer_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: list(range(6)))
    monkeypatch.setattr(local, "total_memory", lambda: 9 * 2**30)
    assert [list(slot.cores) for slot in deal_out(executor(), runs=99, gpus=[])] == [[0, 1, 2], [3, 4, 5]]


def test_the_chain_runs_mnli_first_and_the_small_tasks_from_its_encoder(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["init=mnli", "tasks=[rte,sst2]", "seeds=[1]", *tiny_words]
    assert main(["sweep", *words]) == 0
    records = {record.task: record for record in RunStore(tmp_path / "results").load_all()}
    assert {task: record.init for task, record in records.items()} == {
        "mnli": "pretrained",
        "sst2": "pretrained",
        "rte": f"mnli:{records['mnli'].run_id}",
    }
    assert (
        "starts from the fine-tuned mnli model, the published numbers do not" in records["rte"].not_comparable_because
    )
    assert records["rte"].encoder["weights_sha256"] == records["mnli"].encoder["weights_sha256"]
    assert records["rte"].encoder["init_sha256"] == records["mnli"].model_sha256
    assert "init" in capsys.readouterr().out
    assert main(["sweep", *words]) == 0
    assert "3 runs: 3 done, 0 to run; nothing to train" in capsys.readouterr().err
    assert main(["sweep", "init=mnli", "tasks=[mrpc]", "seeds=[1]", *tiny_words]) == 0
    assert "2 runs: 1 done, 1 to run" in capsys.readouterr().err
    assert main(["run", "task=rte", *tiny_words]) == 0  # from the pretrained encoder: another run
    inits = [record.init for record in RunStore(tmp_path / "results").load_all() if record.task == "rte"]
    assert sorted(inits) == sorted(["pretrained", records["rte"].init])


def test_a_run_whose_parent_failed_says_so(tiny_words: list[str], tmp_path: Path) -> None:
    hot = [*tiny_words, "trainer.learning_rate=1e30", "trainer.clip_norm=0"]
    assert main(["sweep", "init=mnli", "tasks=[rte]", "seeds=[1]", *hot]) == 1
    records = {record.task: record for record in RunStore(tmp_path / "results").load_all()}
    assert (records["mnli"].status, records["rte"].status) == ("diverged", "failed")
    assert "the run that it starts from, tiny mnli seed 1, has diverged" in (records["rte"].error or "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "task=cola", "init=mnli", "data=sample"], "init=mnli: not for task=cola"),
        (["sweep", "tasks=[cola,sst2]", "init=mnli", "data=sample"], "init=mnli: none of these tasks starts from it"),
        (["sweep", "init=mnly", "data=sample"], "init=mnly: none of these tasks starts from it; did you mean mnli?"),
        (["run", "task=rte", "executor=lokal"], "executor=lokal: no such executor; did you mean local?"),
        (["run", "task=rte", "executor.workers=some"], "executor.workers=some: must be auto, or 1 or more"),
    ],
)
def test_an_impossible_init_or_executor_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "encoder=minilm"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("earlier", [True, False], ids=["timed", "new"])
def test_a_dry_run_finds_a_wrong_label_in_local_rows(
    earlier: bool, tiny_words: list[str], local_glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "executor=serial", "tasks=[rte]", "seeds=[1]", *tiny_words]
    if earlier:  # of such a run the time is known, so nothing but a check needs its rows
        assert main(words) == 0
    rows = Path(shutil.copytree(local_glue, tmp_path / "rows")) / "rte" / "validation.parquet"
    table = pq.read_table(rows)
    write_parquet(rows, {**table.to_pydict(), "label": [0, 7, *table.column("label").to_pylist()[2:]]})
    capsys.readouterr()
    assert main([*words, f"data.path={tmp_path / 'rows'}", "--dry-run"]) == 3
    assert f"{rows} row 2: label is 7" in capsys.readouterr().err
    assert len(list((tmp_path / "results").rglob("record.json"))) == earlier
