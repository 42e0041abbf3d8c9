"""Several settings of one encoder: distinguished in every format, compared, and never chosen by a hash."""

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import glue_bench
from glue_bench.errors import UsageError
from glue_bench.report.formats import render_paper, render_report
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.making import DISTILROBERTA, ROBERTA, cell_run, make_record, scores_of
from tests.support.results_of_v1 import call
from tests.support.scored_runs import keep_run


def approx(value: object) -> Any:
    """Return pytest.approx, typed so that it may be compared with anything."""
    return pytest.approx(value)


def lines_of(text: str) -> list[list[str]]:
    return [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_what_differs_is_a_column_sorted_by_its_value(four: RunStore) -> None:
    report = build_report(four.load_all(), load_published(), store=four)
    head, _, *rows = lines_of(render_report(report, "markdown"))
    assert [cell.strip() for cell in head[:2]] == ["task", "learning\\_rate"]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [
        *(("MRPC", rate) for rate in ("1e-5", "1e-4")),
        *(("RTE", rate) for rate in ("1e-5", "3e-5", "1e-4", "3e-4")),
    ]
    assert "learning_rate" not in " ".join(row.note for row in report.sections[0].rows)
    content = json.loads(render_report(report, "json"))["sections"][0]["rows"]
    assert [row["differs"] for row in content[:2]] == [{"trainer.learning_rate": 1e-5}, {"trainer.learning_rate": 1e-4}]
    found = list(csv.DictReader(io.StringIO(render_report(report, "csv"))))
    assert json.loads(found[-1]["differs"]) == {"trainer.learning_rate": 3e-4}
    console = render_report(report, "console", width=70)
    assert console.count("RTE: ") == 1, console  # once for the four rows
    assert all(f"RTE    {rate} " in console for rate in ("1e-5", "3e-5", "1e-4", "3e-4"))


def test_the_latex_headline_has_one_line_per_setting_and_mixes_none(four: RunStore) -> None:
    report = build_report(four.load_all(), load_published(), store=four)
    latex = render_report(report, "latex")
    lines = [line.split(" & ") for line in latex.splitlines() if line.startswith("tiny (")]
    medians = {(row.task, row.differs["trainer.learning_rate"]): f"{row.median:.1f}" for row in report.sections[0].rows}
    assert [line[1:3] for line in lines] == [
        [medians.get(("mrpc", rate), "--"), medians["rte", rate]] for rate in (1e-5, 3e-5, 1e-4, 3e-4)
    ]
    assert [f"({place + 1}) tiny" in latex for place in range(4)] == [True] * 4
    assert "learning\\_rate=3e-5; medians" in latex


def test_means_of_eight_tasks_are_given_for_each_setting() -> None:
    runs = [
        make_record(
            task=task, setting=f"{task}{epochs}", scores=scores_of(task, score), words=(f"trainer.epochs={epochs}",)
        )
        for epochs, score in ((3, 0.5), (10, 0.6))
        for task in ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
    ]
    report = build_report(runs, [])
    assert [(line.words, line.mean) for line in report.sections[0].lines] == [
        ("epochs=3", approx(50)),
        ("epochs=10", approx(60)),
    ]
    means = [row for row in lines_of(render_report(report, "markdown")) if row[0].strip() == "mean"]
    assert [(row[1], row[5].strip()) for row in means] == [("3", "50.0"), ("10", "60.0")]


def test_the_chosen_cells_of_a_grid_are_one_line_whichever_cell_was_best() -> None:
    runs = [cell_run(1, score, rate, setting=f"r{rate}") for rate, score in ((1e-5, 0.6), (2e-5, 0.7))]
    runs += [
        cell_run(1, score, rate, task="cola", setting=f"c{rate}", scores=scores_of("cola", score))
        for rate, score in ((1e-5, 0.7), (2e-5, 0.6))
    ]
    (section,) = build_report(runs, []).sections
    assert [(row.task, row.median, dict(row.differs)) for row in section.rows] == [
        ("cola", approx(70), {}),
        ("rte", approx(70), {}),
    ]
    assert [len(line.rows) for line in section.lines] == [2]


def test_the_report_shows_only_the_runs_that_are_asked_for(four: RunStore, tmp_path: Path) -> None:
    shutil.copytree(four.root, tmp_path / "runs")
    sample = {"source": "sample", "dataset": None, "revision": None, "fingerprint": "s", "rows": {"train": 9}}
    keep_run(RunStore(tmp_path), task="rte", encoder=DISTILROBERTA)
    record = make_record(task="cola", data={**sample, "rows": {"train": 9, "validation": 9}}, setting="sample")
    RunStore(tmp_path).save(record)
    place = f"results_dir={tmp_path}"

    def tasks(*words: str) -> list[tuple[str, str]]:
        content = json.loads(call(*["report", "--format", "json", place, *words])[1])
        return [(row["encoder"], row["task"]) for part in content["sections"] for row in part["rows"]]

    assert ("tiny", "cola") in tasks()
    assert ("tiny", "cola") not in tasks("data!=sample")
    assert tasks("encoder=distilroberta", "tasks=[rte]") == [("distilroberta", "rte")]  # no row for the other seven
    assert tasks("trainer.learning_rate=3e-4") == [("tiny", "rte")]
    code, _, errors = call(*["report", place, "task=qqp"])
    assert (code, "task=qqp: no run in" in errors) == (2, True)


def test_the_data_frame_has_a_column_for_every_number_and_tells_settings_apart(four: RunStore) -> None:
    frame = glue_bench.load_results(four.root.parent, "trainer.learning_rate!=3e-4", tasks=["rte"], seeds=[1, 2])
    assert sorted({*frame.learning_rate}) == [1e-5, 3e-5, 1e-4]
    assert {*frame.setting} == {"learning_rate=1e-5", "learning_rate=3e-5", "learning_rate=1e-4"}
    assert {*frame.train_rows} == {2490}
    for name in (
        "batch_size",
        "warmup",
        "weight_decay",
        "epsilon",
        "clip_norm",
        "max_length",
        "updates",
        "beta1",
        "beta2",
    ):
        assert frame[name].dtype.kind in "if", name
    assert frame.max_train_rows.dtype.kind == "f"
    assert frame.max_train_rows.isna().all()
    means = frame.groupby("learning_rate").value.mean()
    assert means.is_monotonic_increasing
    with pytest.raises(UsageError, match="task=cola: no run"):
        glue_bench.load_results(four.root.parent, task="cola")


def grid_run(rate: float, score: float, *, plain: bool = False, **changes: Any) -> Any:
    """Make a run with a learning rate: a cell of a grid of three, or the same values outside of any grid."""
    record = make_record(
        words=(f"trainer.learning_rate={rate}",), setting=f"of {rate}", scores=scores_of("rte", score), **changes
    )
    if plain:
        return record
    own = {"grid": {"learning_rate": [1e-5, 3e-5, 1e-4]}, "cell": {"learning_rate": rate}, "recipe_changes": {}}
    return dataclasses.replace(record, config={**record.config, **own})


def test_a_plain_run_with_the_values_of_a_cell_is_that_cell_too() -> None:
    runs = [grid_run(1e-5, 0.6), grid_run(3e-5, 0.8, plain=True), grid_run(2e-5, 0.9, plain=True)]
    (section,) = build_report(runs, []).sections
    assert [(row.median, row.cells, row.differs["trainer.learning_rate"]) for row in section.rows] == [
        (approx(90), 0, 2e-5),  # not in the grid
        (approx(80), 0, 3e-5),
        (approx(80), 2, 3e-5),  # the best of the grid
    ]
    assert [line.words for line in section.lines] == ["learning_rate=2e-5", "learning_rate=3e-5", "best of a grid"]
    best = section.rows[2]
    assert best.note.startswith("best of 2 cells (the grid has 3): learning_rate=3e-05; selected on the dev split")
    assert [(dict(cell.setting.cell), cell.score) for cell in best.tried] == [
        ({"learning_rate": 1e-5}, approx(60)),
        ({"learning_rate": 3e-5}, approx(80)),
    ]


def test_seeds_asked_for_as_a_cell_and_plainly_make_one_cell() -> None:
    runs = [grid_run(1e-5, 0.6, plain=True, seed=1), *(grid_run(1e-5, 0.7, seed=seed) for seed in (2, 3))]
    runs += [grid_run(3e-5, 0.65, seed=seed) for seed in (1, 2, 3)]
    old = [dataclasses.replace(run, setting_id="before", run_id=f"seed{run.seed}-before") for run in runs[:2]]
    for found in (runs, [*runs, *old]):  # and the same values under an id of an earlier version are the same cell
        rows = [row for row in build_report(found, []).sections[0].rows if row.cells]
        assert [(row.cells, row.seeds, row.median) for row in rows] == [(2, [1, 2, 3], approx(70))]


def test_every_cell_is_shown_if_asked_for() -> None:
    runs = [
        cell_run(1, score, rate, batch) for score, rate, batch in ((0.6, 2e-5, 16), (0.7, 1e-5, 32), (0.8, 1e-5, 16))
    ]
    (row,) = build_report(runs, []).sections[0].rows
    assert row.cells == 3
    rows = build_report(runs, [], cells=True).sections[0].rows
    assert [(tuple(row.differs.values()), row.median) for row in rows] == [
        ((16, 1e-5), approx(80)),
        ((16, 2e-5), approx(60)),
        ((32, 1e-5), approx(70)),
    ]
    assert [tuple(row.differs) for row in rows] == [("trainer.batch_size", "trainer.learning_rate")] * 3
    assert not any("best of" in row.note for row in rows)


def test_settings_with_long_names_are_explained_in_a_papers_note_and_minus_signs_are_set(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for rate, epochs, size in (("1e-5", 3, 8), ("3e-5", 5, 16)):
        words = (f"trainer.learning_rate={rate}", f"trainer.epochs={epochs}", f"trainer.batch_size={size}")
        scores = {"validation": {"matthews_correlation": -0.056}}
        store.save(make_record(task="cola", setting=f"cola{size}", words=words, scores=scores))
    latex = render_paper(build_report(store.load_all(), []))
    assert [line.split(" & ")[0] for line in latex.splitlines() if " & $-$5.6" in line] == ["tiny (a)", "tiny (b)"]
    (note,) = [line for line in latex.splitlines() if "Data and recipe" in line]
    for letter, rate, epochs, size in (("a", "1e-5", 3, 8), ("b", "3e-5", 5, 16)):
        (explained,) = [text for text in note.split("tiny (")[1:] if text.startswith(letter)]
        assert all(word in explained for word in (f"rate={rate}", f"epochs={epochs}", f"size={size}")), explained


def test_a_long_name_without_anything_to_explain_stays_in_a_papers_table(tmp_path: Path) -> None:
    store, name = RunStore(tmp_path), "bert_uncased_L-12_H-768_A-12_finetuned"
    store.save(make_record(encoder={**DISTILROBERTA, "name": name}))
    config, encoder = make_record().config, {**ROBERTA, "name": "x" * 33}
    for epochs in range(1, 29):  # more settings than letters
        own = {**config, "trainer": {**config["trainer"], "epochs": epochs}}
        store.save(make_record(setting=f"{epochs}", config=own, encoder=encoder))
    latex = render_paper(build_report(store.load_all(), []))
    assert rf"{name.replace('_', chr(92) + '_')} & 50.0" in latex
    assert [f"{'x' * 33} ({letters}) & 50.0" in latex for letters in ("z", "aa", "bb", "{")] == [
        True,
        True,
        True,
        False,
    ]
    assert f"{'x' * 33} (bb): epochs=28. Data and recipe: " in latex
