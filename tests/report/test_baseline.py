"""`report --check`: drops that are significant, and baselines that cannot be used."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from glue_bench.cli.main import main
from glue_bench.errors import GlueBenchError
from glue_bench.report.formats import check_report, read_baseline, render_report
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from tests.support.making import DISTILROBERTA, make_record
from tests.support.reports import PUBLISHED, three
from tests.support.scored_runs import keep_run


def rows_of(report: Any) -> list[dict[str, Any]]:
    """Return the rows as `report --format json` writes them."""
    content = json.loads(render_report(report, "json"))
    return [row for section in content["sections"] for row in section["rows"] if row["seeds"]]


@pytest.mark.parametrize(("now", "fault"), [(0.68, ""), (0.676, ""), (0.60, "the mean fell by 8.0"), (0.72, "")])
def test_a_check_fails_only_on_a_significant_drop(now: float, fault: str) -> None:
    before = rows_of(build_report(three(0.68), PUBLISHED))
    ((line, failed),) = check_report(build_report(three(now), PUBLISHED), before)
    assert fault in line
    assert failed == bool(fault)


def test_a_check_names_a_degenerate_run_that_hides_any_drop(tmp_path: Path) -> None:
    def report_of(name: str, **last: Any) -> Any:
        store = RunStore(tmp_path / name)
        for seed in (1, 2, 3):
            keep_run(store, task="rte", seed=seed, encoder=DISTILROBERTA, **({"share": 0.7} if seed < 3 else last))
        return build_report(store.load_all(), PUBLISHED, store=store)

    before = rows_of(report_of("before", share=0.7))
    ((line, failed),) = check_report(report_of("now", always=1), before)
    assert line.endswith(" (3 seeds): 1 of 3 seeds is degenerate")
    assert not failed


def test_a_check_prints_the_medians_that_the_table_shows() -> None:
    records = [
        dataclasses.replace(record, scores={"validation": {"accuracy": value}})
        for record, value in zip(three(0.7), (0.70, 0.71, 0.50), strict=True)
    ]
    report = build_report(records, PUBLISHED)
    assert report.sections[0].rows[0].median == pytest.approx(70)
    assert check_report(report, rows_of(report)) == [("distilroberta RTE: 70.0 (3 seeds), now 70.0 (3 seeds)", False)]


def test_a_check_finds_the_same_setting_under_another_id_and_names_missing_ones() -> None:
    before = rows_of(build_report([*three(0.68), *three(0.90, task="sst2")], PUBLISHED))
    checked = check_report(build_report(three(0.60, setting="111"), PUBLISHED), before)
    (gone, _), (fell, _) = checked
    assert fell.startswith("distilroberta RTE: 68.0 (3 seeds), now 60.0 (3 seeds): the mean fell by 8.0 (adjusted p ")
    assert gone == "distilroberta SST-2: 90.0 (3 seeds), now gone: this setting no longer has a finished run"
    assert all(failed for _, failed in checked)


def test_single_runs_are_checked_by_the_noise_of_their_rows(tmp_path: Path) -> None:
    def report_of(name: str, share: float) -> Any:
        store = RunStore(tmp_path / name)
        keep_run(store, task="rte", share=share, encoder=DISTILROBERTA)
        return build_report(store.load_all(), PUBLISHED, store=store)

    before = rows_of(report_of("before", 0.70))
    ((_, little),) = check_report(report_of("little", 0.67), before)
    ((line, much),) = check_report(report_of("much", 0.50), before)
    assert (little, much, "the mean fell" in line) == (False, True, True)


def test_a_report_checked_against_itself_has_no_fault() -> None:
    slow = [dataclasses.replace(record, precision="float32") for record in three(0.60)]
    fast = [dataclasses.replace(record, precision="bfloat16", seed=record.seed + 3) for record in three(0.70)]
    fast = [dataclasses.replace(record, run_id=f"seed{record.seed}-000") for record in fast]
    report = build_report([*slow, *fast], PUBLISHED)
    checked = check_report(report, rows_of(report))
    assert sorted(checked) == [
        (f"distilroberta RTE: {n} (3 seeds), now {n} (3 seeds)", False) for n in ("60.0", "70.0")
    ]


def test_a_check_on_other_rows_or_under_another_convention_says_so() -> None:
    ours = [
        make_record(task="mrpc", seed=seed, encoder=DISTILROBERTA, scores={"validation": {"accuracy": 0.86, "f1": 0.9}})
        for seed in (1, 2, 3)
    ]
    before = rows_of(build_report(ours, PUBLISHED))
    ((line, failed),) = check_report(build_report(ours, PUBLISHED, convention="paper"), before)
    assert line.endswith(": now shown as accuracy, before as mean of accuracy and F1: use the same --convention")
    assert failed
    others = [dataclasses.replace(record, data={**record.data, "fingerprint": "1"}) for record in ours]
    ((line, failed),) = check_report(build_report(others, PUBLISHED), before)
    assert line.endswith(": other texts or labels than before: not the same test")
    assert failed


def test_a_drop_of_unknown_noise_is_not_significant() -> None:
    before = rows_of(build_report(three(0.70)[:1], PUBLISHED))
    ((line, failed),) = check_report(build_report(three(0.69)[:1], PUBLISHED), before)
    assert line.endswith(": lower, but the noise of these runs is unknown")
    assert not failed


@pytest.mark.parametrize(
    "change",
    [
        {"values": [float("nan")] * 3},
        {"values": [True] * 3},
        {"low": "x"},
        {"n": "277"},
        {"run_ids": None},
        {"seeds": []},
    ],
)
def test_baseline_rows_that_cannot_be_compared_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    content = json.loads(render_report(build_report(three(0.68), PUBLISHED), "json"))
    content["sections"][0]["rows"][0].update(change)
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(content))
    with pytest.raises(GlueBenchError, match="not written by"):
        read_baseline(path)


def test_the_check_is_an_exit_code(store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, earlier = f"results_dir={store.root.parent}", tmp_path / "earlier.json"
    assert main(["report", folder, "--format", "json", "--out", str(earlier)]) == 0
    assert main(["report", folder, "--check", str(earlier), "--out", str(tmp_path / "t.txt")]) == 0
    assert "none fell significantly" in capsys.readouterr().err
    content = json.loads(earlier.read_text())
    (row,) = [row for row in content["sections"][0]["rows"] if row["task"] == "rte"]
    row["values"], row["mean"] = [value + 10 for value in row["values"]], row["mean"] + 10
    earlier.write_text(json.dumps(content))
    assert main(["report", folder, "--check", str(earlier), "--out", str(tmp_path / "t.txt")]) == 1
    assert "distilroberta RTE" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", '{"sections": 1}', '{"sections": [{"rows": [{"seeds": [1]}]}]}'])
def test_a_file_that_is_not_a_report_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(text)
    with pytest.raises(GlueBenchError, match="not written by"):
        read_baseline(path)
