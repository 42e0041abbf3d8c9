"""What became of a run that did not report a result."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from glue_bench.errors import GlueBenchError, UsageError
from glue_bench.runs.lease import Lease, take_lease
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep import slurm
from glue_bench.sweep.board import Listener
from glue_bench.sweep.plan import Plan, plan_runs
from glue_bench.sweep.queue import Queue
from tests.support.making import make_record, make_request

REQUEST = make_request(task="rte", seed=1)
LOST = GlueBenchError("its process was killed")


def record_of(status: str, *, ended: str = "now") -> Record:
    return make_record(status=status, ended=ended, error=None if status == "finished" else "its own error")


def started(store: RunStore, before: Record | None = None) -> Queue:
    """Return a queue whose only run has started, beside the record of an earlier try."""
    if before is not None:
        store.save(before)
    queue = Queue(Plan(requests=[REQUEST], missing=[REQUEST]), store, listener=Listener())
    queue.note_start(REQUEST)
    return queue


@pytest.mark.parametrize(
    ("before", "found", "resumable", "outcome"),
    [
        (None, None, True, ("failed", "its process was killed")),
        ("failed", None, True, ("failed", "its process was killed")),
        ("interrupted", None, True, ("failed", "its process was killed")),
        ("finished", None, True, ("finished", None)),
        (None, "finished", True, ("finished", None)),
        ("failed", "diverged", True, ("diverged", "its own error")),
        (None, "interrupted", True, None),
        (None, "interrupted", False, ("failed", "its process was killed")),
        ("interrupted", "interrupted", True, None),
    ],
)
def test_a_new_record_is_the_result_and_without_one_the_run_is_lost(
    before: str | None, found: str | None, resumable: bool, outcome: tuple[str, str | None] | None, tmp_path: Path
) -> None:
    store = RunStore(tmp_path)
    queue = started(store, record_of(before, ended="before") if before else None)
    if found:
        store.save(record_of(found))
    resolved = queue.settle_lost(REQUEST, LOST, again=resumable, steps=7)
    assert queue.records.get(REQUEST.run_id) == resolved
    assert queue.empty == (resolved is not None)
    assert (resolved and (resolved.status, resolved.error)) == outcome
    assert resolved is None or store.load(*REQUEST.place) == resolved
    if resolved is not None and resolved.error == str(LOST):
        assert resolved.steps == 7


def test_a_result_that_is_kept_is_named_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    earlier = record_of("finished")
    assert started(RunStore(tmp_path), earlier).settle_lost(REQUEST, LOST) == earlier
    assert "its result is kept, but training it again failed: its process was killed" in caplog.text


def test_a_run_that_another_worker_has_is_left_to_it(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    lease = take_lease(store.folder(*REQUEST.place))
    assert isinstance(lease, Lease)
    queue = started(store)
    assert queue.settle_lost(REQUEST, LOST) is None
    assert store.load(*REQUEST.place) is None
    record = queue.settle_lost(REQUEST, LOST, dead=os.getpid())
    assert record is not None
    assert record.status == "failed"
    lease.release(done=True)


class OneMinuteCluster:
    """A cluster whose jobs end at once: what each leaves behind is given by run id, once per submission."""

    def __init__(self, store: RunStore, left_behind: dict[str, list[Record | None]]) -> None:
        self.store, self.left_behind, self.submitted = store, left_behind, list[list[str]]()

    def submit_array(self, lines: list[slurm.RunLine]) -> list[SimpleNamespace]:
        run_ids = [json.loads(line.plan.read_text().splitlines()[line.index])["run_id"] for line in lines]
        self.submitted.append(run_ids)
        for run_id in run_ids:
            record = self.left_behind[run_id].pop(0)
            if record is not None:
                self.store.save(record)
        return [SimpleNamespace(job_id=f"{len(self.submitted)}_{place}") for place in range(len(lines))]


def test_a_watched_job_array_settles_repeats_or_records_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path / "results")
    requests = [make_request(task="rte", seed=seed) for seed in (1, 2, 3)]
    first, lost, again = (request.run_id for request in requests)
    cluster = OneMinuteCluster(
        store,
        {
            first: [make_record(seed=1)],
            lost: [None],
            again: [make_record(seed=3, status="interrupted", ended="1"), make_record(seed=3, ended="2")],
        },
    )
    monkeypatch.setattr(slurm, "open_executor", lambda *_, **__: cluster)
    monkeypatch.setattr(slurm, "queued_jobs", set)
    monkeypatch.setattr(slurm, "job_state", lambda _: "FAILED, exit code 1:0")
    monkeypatch.setattr(slurm, "_WATCH_EVERY", 0.01)
    monkeypatch.setattr(slurm, "_ASK_EVERY", 0.0)
    plan = plan_runs(requests, store, retry_failed=False)
    records = slurm.Watch(plan, store, listener=Listener(), executor=requests[0].config.executor).until_done()
    assert {run_id: record.status for run_id, record in records.items()} == {
        first: "finished",
        lost: "failed",
        again: "finished",
    }
    assert cluster.submitted == [[first, lost, again], [again]]
    assert (records[lost].error or "").startswith("its job 1_1 ended without a result (FAILED, exit code 1:0)")
    assert store.load(*requests[1].place) == records[lost]


@pytest.mark.parametrize(
    ("script", "refused", "state"),
    [
        (None, "squeue cannot be started: No such file .*; is this a login node", "scontrol cannot be started"),
        ("", "squeue cannot be started: Permission denied", "scontrol cannot be started: Permission denied"),
        ("exec /bin/sleep 100", "squeue does not answer", "scontrol does not answer"),
        (
            "echo no controller >&2; exit 1",
            "failed: no controller",
            "failed: no controller",
        ),
        ("exit 3", "failed: exit status 3", "failed: exit status 3"),
        (r"printf 'JobState=FAILED ExitCode=1:0 Name=\377'", "", "FAILED, exit code 1:0"),
    ],
    ids=["missing", "not executable", "hangs", "refuses", "refuses silently", "not UTF-8"],
)
def test_commands_of_slurm_that_are_missing_or_do_not_answer_are_named(
    script: str | None, refused: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script and "sleep" in script:
        monkeypatch.setattr(slurm, "_ANSWERED_IN", 0.1)
    for name in ("squeue", "scontrol") if script is not None else ():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755 if script else 0o644)
    if refused:
        with pytest.raises(UsageError, match=f"executor=slurm: .*{refused}"):
            slurm.queued_jobs()
    else:
        assert slurm.queued_jobs() == {"JobState=FAILED", "ExitCode=1:0", "Name=\ufffd"}
    assert state in slurm.job_state("7")


def test_a_run_that_is_put_back_is_the_next_to_start(tmp_path: Path) -> None:
    runs = [make_request(task="rte", seed=seed) for seed in (1, 2)]
    queue = Queue(Plan(requests=runs, missing=runs), RunStore(tmp_path), listener=Listener())
    first = queue.next_run()
    assert first is not None
    queue.settle(first, None)
    assert queue.next_run() == first
