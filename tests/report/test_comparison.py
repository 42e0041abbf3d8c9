"""`compare`: which runs are compared, and what is said of them."""

import json
from pathlib import Path

import pytest

from glue_bench.cli.main import main
from glue_bench.errors import UsageError
from glue_bench.report.formats import render_comparison
from glue_bench.report.model import CARD_TASKS
from glue_bench.runs.store import RunStore
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.reports import changed_task, compared
from tests.support.scored_runs import SHARES, keep_run


def test_the_published_share_of_quality_is_the_known_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for task in CARD_TASKS:
        for encoder in (DISTILROBERTA, ROBERTA):
            keep_run(store, task=task, share=SHARES[task], encoder=encoder)
    found = compared(store, "distilroberta", "roberta")
    assert found.published_kept == pytest.approx(95.4, abs=0.05)
    assert found.kept == pytest.approx(100)
    assert [task.better for task in found.tasks] == [None] * 8
    assert [task.task for task in found.tasks] == list(CARD_TASKS)


def test_swapping_the_encoders_changes_the_sign(store: RunStore) -> None:
    ours, theirs = compared(store, "distilroberta", "roberta"), compared(store, "roberta", "distilroberta")
    for one, other in zip(ours.tasks, theirs.tasks, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.better == other.better
        assert one.p_value == pytest.approx(other.p_value, abs=0.02)
    assert ours.eval_ratio == pytest.approx(2)
    assert theirs.eval_ratio == pytest.approx(0.5)


def test_only_runs_on_the_same_rows_with_the_same_seeds_are_compared(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="rte", seed=1, encoder=DISTILROBERTA)
    keep_run(store, task="rte", seed=2, encoder=ROBERTA)
    keep_run(store, task="mrpc", encoder=DISTILROBERTA)
    data = {**make_record(task="mrpc").data, "fingerprint": "other"}
    keep_run(store, task="mrpc", encoder=ROBERTA, data=data)
    keep_run(store, task="cola", encoder=DISTILROBERTA)
    found = compared(store, "distilroberta", "roberta")
    assert found.tasks == []
    assert found.skipped == {
        "CoLA": "no finished runs of the second",
        "MRPC": "not the same dev rows",
        "RTE": "no seed in common",
    }
    assert "MRPC is left out: not the same dev rows." in render_comparison(found, "console", width=120)


def test_the_most_similar_settings_are_compared_and_the_choice_is_noted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for seed in (1, 2):
        keep_run(store, task="rte", seed=seed, encoder=DISTILROBERTA)
        keep_run(store, task="rte", seed=seed, encoder=ROBERTA, setting="111", words=("trainer.epochs=3",))
    (task,) = compared(store, "distilroberta", "roberta").tasks
    assert (task.note, task.seeds) == ("trainer.epochs=10, 3", [1, 2])
    keep_run(store, task="rte", seed=1, encoder=ROBERTA, setting="222")
    (task,) = compared(store, "distilroberta", "roberta").tasks
    assert (task.note, task.seeds) == ("one of 2 settings of roberta: trainer.epochs=10", [1])


def test_other_initial_weights_are_noted_and_get_no_published_share(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="rte", encoder=DISTILROBERTA)
    keep_run(store, task="rte", encoder=ROBERTA, init="mnli:seed1-111", reasons=("starts from MNLI",))
    found = compared(store, "distilroberta", "roberta")
    assert [task.note for task in found.tasks] == ["init=pretrained, mnli"]
    assert (found.kept is None, found.published_kept) == (False, None)
    keep_run(store, task="rte", encoder=ROBERTA, setting="222")
    found = compared(store, "distilroberta", "roberta")
    assert [task.note for task in found.tasks] == [""]
    assert found.published_kept == pytest.approx(100 * 67.9 / 78.7)


def test_weights_of_parent_runs_are_not_several_encoders(tmp_path: Path) -> None:
    store = RunStore(tmp_path)

    def keep(task: str, seed: int, *, parent: bool, weights: str) -> None:
        encoder = {**ROBERTA, "weights_sha256": weights}
        init = f"mnli:seed{seed}-111" if parent else "pretrained"
        keep_run(store, task=task, seed=seed, encoder=encoder, setting=f"{task}{parent}", init=init)

    for seed in (1, 2):
        for task in ("mrpc", "rte"):
            keep_run(store, task=task, seed=seed, encoder=DISTILROBERTA)
        keep("mrpc", seed, parent=False, weights="pretrained")
        keep("rte", seed, parent=True, weights=f"of seed {seed} of MNLI")
    assert compared(store, "distilroberta", "roberta").several_weights == []
    keep("mrpc", 2, parent=False, weights="others")
    found = compared(store, "distilroberta", "roberta")
    assert found.several_weights == ["roberta"]
    text = render_comparison(found, "markdown")
    assert "The compared runs of roberta began with different weights" in text


def test_runs_with_different_labels_are_not_compared(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    facts = {**make_record(task="rte").data, "fingerprint": None}
    keep_run(store, task="rte", encoder=DISTILROBERTA, data=facts)
    keep_run(store, task="rte", encoder=ROBERTA, data={**facts, "rows": {"train": 2490, "validation": 100}})
    assert compared(store, "distilroberta", "roberta").skipped == {"RTE": "not the same labels"}


def test_tasks_are_compared_in_the_cards_order(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for task in ("rte", "cola"):
        keep_run(store, task=task, encoder=DISTILROBERTA)
    keep_run(store, task="sst2", encoder=DISTILROBERTA, recipe="other")
    for task in ("mnli", "sst2", "cola", "rte"):
        keep_run(store, task=task, encoder=ROBERTA)
    assert [task.task for task in compared(store, "distilroberta", "roberta").tasks] == ["sst2", "cola", "rte"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("distilrobert", "roberta"), "did you mean distilroberta"),
        (("roberta", "bert"), "bert: there are no finished runs of this encoder"),
        (
            ("roberta", "roberta"),
            "roberta: compared with itself; its runs have one setting; name two different encoders",
        ),
    ],
)
def test_encoders_without_runs_are_refused_in_one_line(store: RunStore, names: tuple[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compared(store, *names)


def test_compare_prints_and_writes(store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"results_dir={store.root.parent}"
    assert main(["compare", "distilroberta", "roberta", folder]) == 0
    assert "The mean of distilroberta over these 4 tasks is" in capsys.readouterr().out
    assert (
        main(["compare", "distilroberta", "roberta", folder, "--format", "json", "--out", str(tmp_path / "c.json")])
        == 0
    )
    assert json.loads((tmp_path / "c.json").read_text())["first"] == "distilroberta"
    assert main(["compare", "distilroberta", folder]) == 2
    assert "name two encoders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("metrics", "split", "shown"),
    [
        (("recall",), "validation", ""),
        (("recall", "accuracy"), "validation", "accuracy"),
        (("accuracy",), "dev", ""),
    ],
)
def test_an_own_task_whose_file_changed_is_compared_by_what_both_have(
    metrics: tuple[str, ...], split: str, shown: str, tmp_path: Path
) -> None:
    store = RunStore(tmp_path / "results")
    keep_run(store, task="rte")
    changed_task(*metrics, save=store, split=split)
    for names in (("tiny", "other"), ("other", "tiny")):
        found = compared(store, *names)
        assert [task.metric for task in found.tasks] == [shown] * bool(shown)
        assert list(found.skipped.values()) == ["no metric on the same splits in common"] * (not shown)
    assert main(["report", f"results_dir={store.root.parent}", "--format", "html"]) == 0


def test_times_have_three_digits_or_all_before_the_point(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    for name, seconds in (("a", 12_345.6), ("b", 0.12345)):
        keep_run(store, task="rte", encoder={"name": name}, seconds={"train": seconds, "eval": 1.0, "total": 1.0})
    assert "12,346 and 0.123" in render_comparison(compared(store, "a", "b"), "markdown")
