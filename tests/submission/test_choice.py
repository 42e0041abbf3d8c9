"""Which run makes which file of a zip."""

import shlex
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.errors import UsageError
from glue_bench.runs.store import RunStore
from glue_bench.submission import choose_runs
from tests.support.building import Bench, write_test_rows
from tests.support.making import make_record, scores_of


def test_tasks_without_a_run_are_named_with_a_command_that_makes_them(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = made.copy(tmp_path)
    write_test_rows(made.glue, "rte/test", 3000)
    (bench.results / "submission-tiny.zip").unlink()
    others = [word for task in ("cola", "mrpc", "qnli", "qqp", "wnli") for word in ("--fill", task)]
    assert bench.build(*others) == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "no finished run of tiny for rte; train:"
    assert errors[2] == "  or use one constant prediction for each: --fill rte"
    assert errors[-1] == "glue-bench: submit build: the leaderboard takes all files or none; see above"
    command = shlex.split(errors[1])
    assert command[:4] == ["glue-bench", "sweep", "tasks=[rte]", "seeds=[1,2,3]"]
    assert not (bench.results / "submission-tiny.zip").exists()
    assert main([*command[1:], "executor=serial"]) == 0
    assert bench.build(*others, "--out", "sub.zip") == 0
    assert "RTE.tsv         3,000 rows  tiny rte seed" in capsys.readouterr().out


def test_of_several_seeds_the_median_on_the_dev_set_is_taken_or_the_best_or_the_one_named(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for seed, score in enumerate((0.70, 0.90, 0.60, 0.80), start=1):
        store.save(make_record(task="rte", seed=seed, scores=scores_of("rte", score)))

    def chosen(**wanted: str) -> tuple[int, str]:
        encoder, choices = choose_runs(store, ["rte"], **wanted)
        assert encoder == "tiny"
        return choices["rte"][0].record.seed, choices["rte"][1]

    assert chosen() == (1, "median of 4 seeds on the dev set")  # the lower of the two in the middle
    assert chosen(pick="best") == (2, "best of 4 seeds on the dev set")
    assert chosen(seed="3") == (3, "seed=3")
    assert chosen(run_id="[seed4-000]") == (4, "named")
    store.save(make_record(task="rte", seed=5, scores=scores_of("rte", 0.75)))
    assert chosen() == (5, "median of 5 seeds on the dev set")


def test_failed_runs_and_runs_on_sample_data_are_never_chosen(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(make_record(task="rte", seed=1))
    store.save(make_record(task="rte", seed=2, status="failed", scores={}))
    store.save(make_record(task="mrpc", seed=1, data={**make_record(task="mrpc").data, "source": "sample"}))
    _, choices = choose_runs(store, ["rte", "mrpc"])
    assert {task: run.record.seed for task, (run, _) in choices.items()} == {"rte": 1}
    with pytest.raises(UsageError, match="no finished run there except on sample data"):
        choose_runs(store, ["mrpc"])


def test_several_settings_of_a_task_are_refused_with_the_words_that_select_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(make_record(task="rte", seed=1))
    store.save(make_record(task="rte", seed=1, setting="111", words=("recipe=hf_2019",), recipe="hf_2019"))
    with pytest.raises(
        UsageError, match=r"2 settings; add run_id=\[...\] with one of seed1-000 \(recipe=default\), seed1-111 \("
    ):
        choose_runs(store, ["rte"])
    _, choices = choose_runs(store, ["rte"], recipe="hf_2019")
    assert choices["rte"][0].record.run_id == "seed1-111"
    store.save(make_record(task="mrpc", seed=1, words=("trainer.epochs=3",)))
    store.save(make_record(task="mrpc", seed=1, setting="222", words=("trainer.epochs=5",)))
    with pytest.raises(UsageError, match=r"task=mrpc: .* with one of seed1-000 \(epochs=3\), seed1-222 \(epochs=5\)"):
        choose_runs(store, ["mrpc"])
    _, choices = choose_runs(store, ["mrpc"], **{"trainer.epochs": "5.0"})
    assert choices["mrpc"][0].record.run_id == "seed1-222"
    store.save(make_record(task="cola", seed=1))
    store.save(make_record(task="cola", seed=1, setting="333"))
    with pytest.raises(UsageError, match=r"add run_id=\[...\] with one of seed1-000 \(.*\), seed1-333 \("):
        choose_runs(store, ["cola"])


@pytest.mark.parametrize("values", ["null 20", "true false", "[0.9,0.98] [0.8,0.99]", "linear cosine", "1e-05 0.1"])
def test_a_setting_is_chosen_by_the_key_that_it_differs_in(values: str, tmp_path: Path) -> None:
    key = {"n": "warmup_updates", "t": "decay_biases", "[": "betas", "l": "schedule", "1": "learning_rate"}[values[0]]
    store = RunStore(tmp_path)
    for value in values.split():
        store.save(make_record(setting=value, words=(f"trainer.{key}={value}",)))
    with pytest.raises(UsageError, match="2 settings; add "):
        choose_runs(store, ["rte"])
    for value in values.split():
        _, choices = choose_runs(store, ["rte"], **{f"trainer.{key}": value})
        assert choices["rte"][0].record.setting_id == value


def test_a_start_from_mnli_is_required_only_of_tasks_that_have_it(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for task in ("mnli", "rte"):
        store.save(make_record(task=task))
    store.save(make_record(task="rte", setting="111", init="mnli:seed1-000"))
    _, choices = choose_runs(store, ["mnli", "rte"], init="mnli")
    assert [run.record.init for run, _ in choices.values()] == ["pretrained", "mnli:seed1-000"]


def test_the_encoder_must_be_named_if_several_have_finished_runs(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(UsageError, match="no finished run there; `glue-bench sweep"):
        choose_runs(store, ["rte"])
    for name in ("tiny", "small"):
        store.save(make_record(encoder={**make_record().encoder, "name": name}))
    with pytest.raises(UsageError, match="several have finished runs; add encoder=small or encoder=tiny"):
        choose_runs(store, ["rte"])
    with pytest.raises(UsageError, match=r"encoder=tinny: no finished run; did you mean tiny\?"):
        choose_runs(store, ["rte"], encoder="tinny")
    with pytest.raises(UsageError, match="run_id=seed9-000: no such finished run of tiny"):
        choose_runs(store, ["rte"], encoder="tiny", run_id="seed9-000")
