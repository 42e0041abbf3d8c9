"""Rows of grids, and of selected epochs: which cell is shown, and what is kept apart."""

import dataclasses

import pytest

from glue_bench.runs.record import Record
from tests.support.making import cell_run
from tests.support.report_rows import approx, mrpc, published, report_of, row_of


def test_a_grid_is_one_row_of_the_cell_with_the_highest_median() -> None:
    runs = [cell_run(seed, 0.70 + 0.01 * seed, 1e-5) for seed in (1, 2, 3)]
    runs += [cell_run(seed, 0.72 + 0.01 * seed, 2e-5) for seed in (1, 2, 3)]
    runs += [cell_run(seed, score, 2e-5, 32) for seed, score in ((1, 0.99), (2, 0.6), (3, 0.6))]
    row = row_of(*runs)
    assert (row.median, row.seeds, row.cells) == (approx(74.0), [1, 2, 3], 3)
    assert (row.setting.cell, row.setting.selection, row.optimistic) == (
        {"learning_rate": 2e-5, "batch_size": 16},
        "best",
        True,
    )
    assert (
        row.note
        == "best of 3 cells (the grid has 6): learning_rate=2e-05 batch_size=16; selected on the dev split: optimistic"
    )
    assert (published(row), row.difference) == (78.7, approx(-4.7))


def test_a_grid_may_try_null_beside_numbers() -> None:
    runs = list[Record]()
    for dropout, score in ((0.1, 0.7), (None, 0.8), (0, 0.6)):
        run = cell_run(1, score, 1e-5, words=(f"trainer.dropout={'null' if dropout is None else dropout}",))
        config = {**run.config, "grid": {**run.config["grid"], "dropout": [0.1, None, 0]}, "recipe_changes": {}}
        config["cell"] = {**run.config["cell"], "dropout": dropout}
        runs.append(dataclasses.replace(run, config=config))
    row = row_of(*runs)
    assert (row.cells, row.median, row.setting.cell["dropout"]) == (3, approx(80.0), None)


def test_an_incomplete_cell_is_named_and_not_chosen_before_complete_ones() -> None:
    runs = [cell_run(seed, 0.7, 1e-5) for seed in (1, 2)]
    runs += [cell_run(1, 0.9, 2e-5), cell_run(2, 0, 2e-5, status="diverged")]
    runs += [cell_run(seed, 0, 3e-5, status="failed", precision="") for seed in (1, 2)]
    row = row_of(*runs)
    assert (row.median, row.setting.cell["learning_rate"], row.cells) == (approx(70.0), 1e-5, 3)
    assert row.note.endswith(
        "incomplete: learning_rate=2e-05 batch_size=16 (1 of 2 seeds, 1 diverged), "
        "learning_rate=3e-05 batch_size=16 (0 of 2 seeds, 2 failed)"
    )
    lost = row_of(*runs[3:])
    assert (lost.median, lost.note.split(";")[0]) == (None, "2 cells, none finished")
    assert lost.unfinished == {"failed": 2, "diverged": 1}
    assert not lost.optimistic


def test_cells_on_held_out_rows_are_chosen_by_the_holdouts_score() -> None:
    def run(rate: float, dev: float, holdout: float | None) -> Record:
        selected = {"epoch": 1, "step": 9, "on": "holdout", "rows": 249, "score": holdout, "scores": [holdout]}
        return cell_run(1, dev, rate, selection="holdout", selected=selected, words=("selection=holdout",))

    row = row_of(run(1e-5, 0.9, 0.6), run(2e-5, 0.8, 0.7), run(3e-5, 0.95, None))
    assert (row.median, row.setting.cell["learning_rate"], row.optimistic) == (approx(80.0), 2e-5, False)
    assert (
        "best of 3 cells (the grid has 6): learning_rate=2e-05 batch_size=16; selected on held-out training rows"
        in row.note
    )


def test_a_grid_of_last_checkpoints_is_chosen_by_the_headline_and_says_so() -> None:
    runs = [cell_run(1, score, rate, selection="last", selected={}) for rate, score in ((1e-5, 0.6), (2e-5, 0.7))]
    assert row_of(*runs).median == approx(70.0)
    assert "selected on the dev split: optimistic" in row_of(*runs).note
    alone = row_of(runs[0])
    assert alone.note == "one cell (the grid has 6): learning_rate=1e-05 batch_size=16"
    assert not alone.optimistic


def test_runs_that_differ_in_more_than_their_cell_get_separate_rows() -> None:
    short = [cell_run(1, 0.6, rate, words=("trainer.epochs=3",)) for rate in (1e-5, 2e-5)]
    outside = cell_run(1, 0.5, 5e-5)
    (section,) = report_of(*(cell_run(1, 0.7, rate) for rate in (1e-5, 2e-5)), *short, outside).sections
    assert sorted((row.median, row.cells) for row in section.rows) == [
        (approx(50.0), 1),
        (approx(60.0), 2),
        (approx(70.0), 2),
    ]
    changes = {row.cells * (row.median or 0): row.setting.recipe_changes for row in section.rows}
    assert list(changes.values()).count({}) == 1
    assert {row.differs["trainer.epochs"] for row in section.rows} == {3, 10}
    assert [row.differs["trainer.learning_rate"] for row in section.rows if row.cells == 1] == [5e-05]


def test_a_best_epoch_without_a_grid_is_noted_and_kept_apart_from_last_checkpoints() -> None:
    best = mrpc(1, 0.9, 0.9, setting="111", selection="best", selected={"score": 0.9})
    assert row_of(best).note == "best epoch; selected on the dev split: optimistic"
    (section,) = report_of(mrpc(1, 0.8, 0.8), best).sections
    assert [row.differs for row in section.rows] == [{"selection": "last"}, {"selection": "best"}]


@pytest.mark.parametrize("score", [0.6, 0.8])
def test_further_seeds_of_a_plain_run_do_not_choose_its_cell(score: float) -> None:
    runs = [cell_run(seed, value, rate) for rate, value in ((1e-5, 0.7), (2e-5, 0.65)) for seed in (1, 2)]
    runs += [cell_run(1, 0.9, 3e-5)]  # incomplete
    plain = [cell_run(seed, score, 1e-4) for seed in (1, 2, 3, 4)]
    wide = {**runs[0].config["grid"], "learning_rate": [1e-5, 2e-5, 3e-5, 1e-4]}
    runs = [dataclasses.replace(run, config={**run.config, "grid": wide}) for run in runs]
    plain = [dataclasses.replace(run, config={**run.config, "cell": {}, "grid": {}}) for run in plain]
    (row,) = [row for row in report_of(*runs, *plain).sections[0].rows if row.cells]
    assert (row.cells, row.setting.cell["learning_rate"]) == (4, 1e-5 if score < 0.7 else 1e-4)
    assert row.note.endswith("incomplete: learning_rate=3e-05 batch_size=16 (1 of 2 seeds)")
