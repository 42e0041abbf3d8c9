"""Plans: what is missing, in which order, how long; as a table and as a file whose lines run by themselves."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_run, compose_sweep
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.lease import Lease, take_lease
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore, write_history
from glue_bench.sweep import local
from glue_bench.sweep.local import deal_out
from glue_bench.sweep.plan import fetch_inputs, plan_runs, tidy_up
from glue_bench.sweep.timing import estimate_runs, longest_first, measure_run, seconds_in_all, work_of
from tests.support.making import executor, make_record, make_request
from tests.support.tiny import write_parquet


def request(task: str, seed: int = 1, *, parent: RunRequest | None = None) -> RunRequest:
    return make_request(task=task, seed=seed, setting=task, parent=parent)


def names(requests: Sequence[RunRequest]) -> list[str]:
    return [f"{each.config.task.name}-{each.config.seed}" for each in requests]


def test_a_missing_parent_joins_the_plan_before_its_child(tmp_path: Path) -> None:
    store, parent = RunStore(tmp_path), request("mnli")
    child = request("rte", parent=parent)
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
    plan = plan_runs([asked, request("rte", parent=keeping)], RunStore(tmp_path), retry_failed=False)
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
        ("no sign of progress for 5 minutes (executor.timeout), so its process was killed", False),
        ("its process was killed by SIGSEGV; output.log says where", False),
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


def test_longest_come_first_and_a_parent_counts_with_its_children() -> None:
    parent = request("mnli")
    some = [request("rte"), request("cola"), request("qqp"), request("stsb", parent=parent), parent]
    assert names(longest_first(some, {})) == ["mnli-1", "qqp-1", "stsb-1", "cola-1", "rte-1"]


def finished(task: str, seed: int, seconds: float, *, setting: str | None = None) -> Record:
    return make_record(task=task, seed=seed, setting=setting or task, epochs=3, seconds={"total": seconds})


def test_estimates_come_from_other_seeds_else_from_the_task_by_rows_else_there_are_none() -> None:
    asked = request("rte", seed=9)
    assert estimate_runs([asked], [finished("cola", 1, 50.0)]) == {}
    by_epochs = estimate_runs([asked], [finished("rte", 1, 30.0, setting="111")])[asked.run_id]
    assert (by_epochs.seconds, by_epochs.basis) == (100.0, "1 finished run of this encoder and task, by training rows")
    runs = [finished("rte", 1, 30.0, setting="111"), finished("rte", 2, 40.0), finished("rte", 3, 60.0)]
    by_seed = estimate_runs([asked], runs)[asked.run_id]
    assert (by_seed.seconds, by_seed.basis) == (50.0, "2 finished runs of this setting, median time")


def asked_for(task: str, seed: int = 9, **trainer: object) -> RunRequest:
    """Return a request with other trainer values."""
    plain = request(task, seed)
    changed = dataclasses.replace(plain.config.trainer, **trainer)  # type: ignore[arg-type]
    return dataclasses.replace(plain, config=dataclasses.replace(plain.config, trainer=changed))


def test_estimates_and_order_follow_the_number_of_updates() -> None:
    rows = request("rte").config.task.rows["train"]
    short = asked_for("rte", updates=100, batch_size=16)
    known = [finished("rte", 1, 30.0, setting="111")]  # 10 s for each of 3 epochs
    assert estimate_runs([short], known)[short.run_id].seconds == pytest.approx(10 * 100 * 16 / rows)
    record = make_record(seed=1, setting="222", epochs=1, seconds={"total": 8.0}, config=as_config(short))
    assert estimate_runs([request("rte", 9)], [record])["seed9-rte"].seconds == pytest.approx(80 * rows / 1600)
    assert names(longest_first([asked_for("mnli", updates=10), request("cola")], {})) == ["cola-1", "mnli-9"]


def as_config(asked: RunRequest) -> dict[str, object]:
    return dataclasses.asdict(asked.config)


@pytest.mark.parametrize("seconds", [{}, {"train": 3.0}, {"total": None}, {"total": "long"}], ids=str)
def test_a_record_of_another_program_without_a_time_gives_no_estimate(seconds: dict[str, object]) -> None:
    foreign = make_record(task="rte", setting="rte", epochs=3, seconds=seconds)
    assert estimate_runs([request("rte", 9)], [foreign]) == {}
    assert estimate_runs([request("rte", 9)], [foreign, finished("rte", 2, 40.0)])["seed9-rte"].seconds == 40.0


def test_without_a_finished_run_a_dry_run_says_how_much_work_there_is_or_times_a_few_updates(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", *tiny_words, "tasks=[rte,stsb]", "seeds=[1,2]", "grid.learning_rate=[1e-4,3e-4]", "--dry-run"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith("weights will not be kept, and predict, card and submit need them")
    assert "no estimate of the time: nothing like these runs has finished here yet; --measure" in captured.err
    assert "3 updates, roughly " in " ".join(captured.out.split())
    assert main([*words, "--measure", "save_model=true"]) == 0
    captured = capsys.readouterr()
    assert "weights will not" not in captured.err
    assert captured.err.count("timing a few updates of") == 4  # two tasks, two cells; not for each seed
    assert "from finished runs in this folder, and a few updates that were timed now" in captured.err
    assert captured.out.count("10 updates, timed now") == 8
    assert not (tmp_path / "results" / "runs").exists()
    assert main(["sweep", *tiny_words, "--measure"]) == 2
    assert "--measure: only with --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "updates"),
    [(["trainer.epochs=3"], 9), (["trainer.updates=7"], 7), (["data.max_train_rows=16", "trainer.epochs=1"], 1)],
)
def test_the_work_of_a_run_is_counted_from_its_rows(words: list[str], updates: int, tiny_words: list[str]) -> None:
    tiny_words.remove("trainer.epochs=1")
    config = compose_run([*tiny_words, "task=rte", "trainer.batch_size=16", *words])
    work = work_of(make_requests(config, [1])[0])
    assert work is not None
    assert work.updates == updates  # of 48 rows
    assert work.tokens is not None
    assert 10 < work.tokens / (updates * 16) < 40  # two short sentences a row


def test_rows_on_the_hub_are_counted_without_a_request() -> None:
    work = work_of(make_requests(compose_run(["task=cola", "trainer.batch_size=32", "trainer.epochs=2"]), [1])[0])
    assert work is not None
    assert (work.updates, work.tokens) == (2 * 268, None)


def test_a_measured_time_grows_with_the_updates(tiny_words: list[str]) -> None:
    tiny_words.remove("trainer.epochs=1")
    few, many = (
        measure_run(
            make_requests(compose_run([*tiny_words, "task=rte", f"trainer.updates={count}"]), [1])[0], threads=1
        )
        for count in (10, 1_000_000)
    )
    assert 0 < 100 * few.seconds < many.seconds


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
        broken.setattr("glue_bench.runs.experiment.load_classifier", break_down)
        assert main([*words, "save_model=true"]) == 1
    assert "its result is kept, but training it again failed: the wheel came off" in capsys.readouterr().err
    assert list(RunStore(tmp_path / "results").load_all()) == before
    assert main([*words, "save_model=true"]) == 0


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12.0), (2, 6.0), (9, 5.0)])
def test_the_time_in_all_is_that_of_workers_who_take_the_next_run_when_free(workers: int, seconds: float) -> None:
    assert seconds_in_all([5.0, 3.0, 3.0, 1.0], workers=workers) == seconds


@pytest.mark.parametrize(
    ("changes", "runs", "gpus", "cores"),
    [
        ({}, 99, [], [[0], [1], [2], [3], [4], [5]]),
        ({}, 2, [], [[0, 1, 2], [3, 4, 5]]),
        ({"workers": "1"}, 99, [], [[0, 1, 2, 3, 4, 5]]),
        ({"workers": "4"}, 99, [], [[0], [1], [2], [3]]),
        ({"workers": "8"}, 99, [], [[0], [1], [2], [3], [4], [5], [0], [1]]),
        ({}, 99, ["0", "1"], [[0, 1, 2], [3, 4, 5]]),
        ({"runs_per_gpu": 2}, 99, ["GPU-a"], [[0, 1, 2], [3, 4, 5]]),
    ],
    ids=str,
)
def test_the_machine_is_dealt_out(
    changes: dict[str, object],
    runs: int,
    gpus: list[str],
    cores: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: list(range(6)))
    monkeypatch.setattr(local, "total_memory", lambda: 2**40)
    dealt = deal_out(executor(**changes), runs=runs, gpus=gpus)
    assert [list(slot.cores) for slot in dealt] == cores
    assert [slot.gpu for slot in dealt if slot.gpu] == [*gpus, *gpus][: len(dealt)]


def test_a_small_memory_means_fewer_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: list(range(6)))
    monkeypatch.setattr(local, "total_memory", lambda: 9 * 2**30)
    assert [list(slot.cores) for slot in deal_out(executor(), runs=99, gpus=[])] == [[0, 1, 2], [3, 4, 5]]


def test_a_plan_file_runs_line_by_line_from_any_folder_and_keeps_its_numbers(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["tasks=[rte,sst2]", "seeds=[1]", *(word for word in tiny_words if "results_dir" not in word)]
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    lines = [json.loads(line) for line in Path("plan.jsonl").read_text().splitlines()]
    assert [(line["index"], line["title"], line["state"]) for line in lines] == [
        (0, "tiny rte seed 1", "missing"),
        (1, "tiny sst2 seed 1", "missing"),
    ]
    plan = str(Path("plan.jsonl").resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["sweep", "--plan", plan, "--index", "1"]) == 0
    assert main(["sweep", "--plan", plan, "--index", "1"]) == 0
    assert [record.task for record in RunStore(tmp_path / "results").load_all()] == ["sst2"]
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["sweep", "--dry-run", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any("rte seed 1" in line and "missing" in line for line in shown)
    assert any("sst2 seed 1" in line and "done" in line and "accuracy" in line for line in shown)
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    lines = [json.loads(line) for line in Path("plan.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["missing", "done"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--index", "0"], 2, "--index 0: needs a plan; give --plan FILE.jsonl"),
        (["--plan", "plan.jsonl", "--index", "7"], 2, "--index 7: no such line in plan.jsonl; must be 0 to 1"),
        (["--plan", "none.jsonl", "--index", "0"], 3, "--plan none.jsonl: cannot be read"),
        (["--plan", "plan.jsonl", "--index", "1"], 3, "plan.jsonl line 2: not a run that this glue-bench planned"),
        (["--plan", "plan.jsonl", "--index", "0", "task=rte"], 2, "task=rte: a plan's lines hold their whole"),
    ],
)
def test_a_line_that_cannot_be_run_is_one_line_of_error(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plan.jsonl").write_text('{"index": 0}\n{"format": 1}\n')
    assert main(["sweep", *words]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"run_id": "../../../victim"}, "run_id is '../../../victim'"),
        ({"run_id": "seed1-0123456789ab"}, "run_id is 'seed1-0123456789ab'"),
        ({"encoder": "../other"}, "encoder is '../other'"),
        ({"setting_id": "000000000000"}, "setting_id is '000000000000'"),
        ({"inputs": {"encoder": {}, "data": {}}}, "run_id is"),
        ({"inputs": 5}, "inputs is 5"),
        ({"parent": [1]}, "parent is [1]"),
        ({"config.trainer.epochs": 7}, "run_id is"),
        ({"config.seed": 2}, "run_id is"),
        ({"config.encoder.name": ".."}, "encoder.name=.."),
        ({"config": "x" * 10**5}, "config is 'xxx"),
    ],
    ids=str,
)
def test_an_edited_line_of_a_plan_is_refused_and_nothing_is_run(
    change: dict[str, Any], named: str, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--plan", "plan.jsonl", "tasks=[rte]", "seeds=[1]", *tiny_words]) == 0
    line = json.loads(Path("plan.jsonl").read_text())
    for key, value in change.items():
        *outer, last = key.split(".")
        holder = line
        for part in outer:
            holder = holder[part]
        holder[last] = value
    Path("plan.jsonl").write_text(json.dumps(line) + "\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", "--plan", "plan.jsonl", "--index", "0"]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert "plan.jsonl line 1: not a run that this glue-bench planned" in error
    assert (named in error, len(error) < 600) == (True, True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "pipe", "\xff", '{"run_id": ' + "9" * 400 + "}"], ids=lambda c: c[:8]
)
def test_a_plan_that_cannot_be_read_is_one_line(
    content: str, tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("plan.jsonl")
    os.mkfifo(path) if content == "pipe" else path.write_text(content, encoding="latin-1")
    assert main(["sweep", "--plan", "plan.jsonl", "--index", "0"]) == 3
    assert main(["sweep", "--plan", "plan.jsonl", "tasks=[rte]", "seeds=[1]", *tiny_words]) == 2
    assert [line.startswith("glue-bench: ") for line in capsys.readouterr().err.splitlines()] == [True, True]


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
