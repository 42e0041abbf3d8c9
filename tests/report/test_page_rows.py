"""Dev rows, confusions and curves on the page."""

import copy
import dataclasses
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from glue_bench.cli.report import render_html
from glue_bench.report.page.entries import measure_calibration, row_losses, table_of, thin
from glue_bench.report.page.plots import draw_differences, show_number, show_text
from glue_bench.report.table import build_report
from glue_bench.runs.store import Predictions, RunStore
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.pages import (
    HOSTILE,
    HUGE,
    PUBLISHED,
    TRAPS,
    Reader,
    check_structure,
    entries_of,
    hostile_record,
    read_tables,
    render_folder,
)
from tests.support.scored_runs import keep_predictions


def test_hostile_names_and_texts_are_shown_and_never_interpreted(tmp_path: Path) -> None:
    record = hostile_record(tmp_path, recipe=HOSTILE, device=HOSTILE, git=HOSTILE, versions={HOSTILE: HOSTILE})
    lost = dataclasses.replace(record, status="failed", seed=2, run_id=HOSTILE)
    store = RunStore(tmp_path / "results")
    text = render_html(
        build_report([record, lost], PUBLISHED, store=store), [record, lost], published=PUBLISHED, store=store
    )
    reader = check_structure(text)
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u200b", "⟨U+200B⟩")
    assert shown in reader.of("h1")[0].text
    assert any(shown in element.text for element in reader.of("td"))
    assert any(
        "\u05d0\u05d1\u05d2" in element.text and element.attributes.get("dir") == "auto" for element in reader.of("td")
    )
    assert any(element.text.startswith(shown[:10]) for element in reader.of("text"))
    assert not re.search("[\u202e\u200b\x00-\x08]", text)
    assert "49" not in reader.of("h1")[0].text
    assert HUGE not in text
    assert HUGE[:300] in text


def test_the_hardest_rows_have_the_highest_mean_loss_and_their_text(tmp_path: Path) -> None:
    hostile_record(tmp_path, count=40, encoder=DISTILROBERTA)
    (entry,) = entries_of(tmp_path / "results")
    losses = np.mean([row_losses(splits["validation"]) for splits in entry.predictions.values()], axis=0)
    assert [found["place"] for found in entry.hardest] == list(np.argsort(-losses)[:5])
    head, *lines = read_tables(render_folder(tmp_path / "results"))["distilroberta on SST-2"]
    assert head == ["row", "sentence", "label", "predicted", "mean loss"]
    assert [line[0] for line in lines] == [str(found["idx"]) for found in entry.hardest]
    assert all(line[1][:20] == show_text(f"{TRAPS[int(line[0]) % 3]} {line[0]}")[:20] for line in lines)


def test_texts_are_not_shown_if_the_rows_are_gone_or_changed(tmp_path: Path) -> None:
    hostile_record(tmp_path, encoder=DISTILROBERTA)

    def note() -> str:
        text = render_folder(tmp_path / "results")
        assert all(len(line) == 4 for line in read_tables(text)["distilroberta on SST-2"])
        (found,) = [element.text for element in Reader(text).of("p") if "are not shown" in element.text]
        return found

    rows = tmp_path / "rows/sst2/validation.csv"
    rows.write_text(rows.read_text(encoding="utf-8").replace("script", "other"), encoding="utf-8")
    assert "their fingerprint differs" in note()
    rows.unlink()
    assert "no such file" in note()


def test_no_request_is_made_for_rows_missing_from_the_cache(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a request was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    notes = [element.text for element in Reader(render_folder(results)).of("p")]
    reason = r"nyu-mll/glue at \w{40} is not in the hub client's cache here"
    assert any(re.fullmatch(rf"The texts are not shown: {reason}\.", note) for note in notes)


def test_confusion_counts_every_prediction_of_every_seed_once(results: Path) -> None:
    (entry,) = [
        entry for entry in entries_of(results) if (entry.row.setting.encoder, entry.row.task) == ("roberta", "mnli")
    ]
    counts = entry.confusion
    assert counts.sum() == 3 * (120 + 90)
    right = sum(
        (split.label == split.prediction).sum() for splits in entry.predictions.values() for split in splits.values()
    )
    assert np.trace(counts) == right


def test_the_calibration_error_matches_its_definition() -> None:
    confidence = np.array([0.95, 0.95, 0.75, 0.75, 0.55])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    label = np.array([0, 1, 0, 0, 1])
    found = measure_calibration(
        [Predictions(idx=np.arange(5), label=label, prediction=np.zeros(5, dtype=np.int64), logits=logits)]
    )
    assert [*zip(found.low, found.rows, strict=True)] == [(0.5, 1), (0.7, 2), (0.9, 2)]
    assert found.error.sum() == pytest.approx((1 * 0.55 + 2 * 0.25 + 2 * 0.45) / 5)


def test_long_curves_are_thinned_to_means() -> None:
    assert list(thin(table_of(loss=np.arange(6.0)), 3).loss) == [0.5, 2.5, 4.5]
    assert list(thin(table_of(loss=np.arange(5.0)), 4).loss) == [0.5, 2.5, 4.0]
    assert list(thin(table_of(loss=np.arange(3.0)), 3).loss) == [0.0, 1.0, 2.0]


def test_numbers_have_a_true_minus_and_texts_no_invisible_characters() -> None:
    assert show_number(-1234.56, sign=True) == "\u22121,234.6"
    assert show_number(0.04, sign=True) == "+0.0"
    assert show_number(None) == ""
    assert show_text("a\u202eb\x1b[1m\ud800") == "a⟨U+202E⟩b⟨U+001B⟩[1m⟨U+D800⟩"
    assert show_text("na\u00efve \u05d0\n") == "na\u00efve \u05d0\n"


def test_a_matrix_of_many_classes_is_a_table_without_a_plot(tmp_path: Path) -> None:
    for task, k in (("five", 5), ("many", 13)):
        record = make_record(task="sst2", setting=task, encoder=ROBERTA, reasons=("no official row counts",))
        config = copy.deepcopy(record.config)
        labels = [f"label {code}" for code in range(k)]
        config["task"].update(
            name=task, title=task, labels=labels, rows={}, fingerprints={}, conventions={}, leaderboard={}
        )
        rng = np.random.default_rng(k)
        label, logits = np.arange(40) % k, rng.normal(size=(40, k)).astype(np.float32)
        drawn = {"validation": (label, logits.argmax(axis=1), logits)}
        keep_predictions(RunStore(tmp_path), dataclasses.replace(record, task=task, config=config), drawn)
    text = render_folder(tmp_path)
    reader, tables = check_structure(text), read_tables(text)
    drawn_for = [element.text for element in reader.of("title") if "labels by predictions" in element.text]
    assert drawn_for == ["roberta on five: labels by predictions"]
    head, *lines = tables["roberta on many: predictions for each label"]
    assert head == ["label", *(f"predicted label {code}" for code in range(13))]
    assert sum(int(count) for line in lines for count in line[1:]) == 40


@pytest.mark.parametrize("labels", [[0.0, 1, 2, 5, 5, 5, 5], [5.0] * 4, [0.0, 0, 0, 0, 5], [0.0, 1, 2, 3, 4, 5]])
def test_every_row_is_in_one_band_of_labels(labels: list[float], tmp_path: Path) -> None:
    store, scores = RunStore(tmp_path / "results"), np.array(labels)
    keep_predictions(
        store, make_record(task="stsb"), {"validation": (scores, scores + 1, scores[:, None].astype("f4"))}
    )
    (entry,) = entries_of(store.root.parent)
    assert entry.error_bands.rows.sum() == len(labels)
    assert all(band.bias == 1 for band in entry.error_bands)


def test_invisible_characters_of_a_title_are_shown_in_the_plot_of_differences() -> None:
    task = SimpleNamespace(title="a\u202eb\x07<", low=0.0, high=1.0, difference=0.5, better=None)
    comparison: Any = SimpleNamespace(first="a", second="b", tasks=[task])
    marks = draw_differences(comparison, name="x")["marks"]
    assert "a⟨U+202E⟩b⟨U+0007⟩&lt;" in marks
    assert not re.search("[\u202e\x07]", marks)


def test_names_that_differ_only_in_case_are_two(tmp_path: Path) -> None:
    records = [make_record(setting=name, encoder={**ROBERTA, "name": name}) for name in ("Tiny", "tiny")]
    store = RunStore(tmp_path)
    text = render_html(build_report(records, PUBLISHED), records, published=PUBLISHED, store=store)
    assert check_structure(text).of("h1")[0].text == "Tiny and tiny, fine-tuned"
