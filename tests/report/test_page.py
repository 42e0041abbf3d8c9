"""The HTML page: sound structure, nothing from outside, everything escaped, the same bytes for the same records."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from glue_bench.cli import main
from glue_bench.report.page import Page, render_page
from glue_bench.report.page.entries import Entry
from glue_bench.report.page.plots import SHADE
from glue_bench.runs.store import RunStore
from glue_bench.statistics.verdicts import VERDICTS
from tests.conftest import Result
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.making_results import write_run
from tests.support.pages import Reader, check_structure, entries_of, page_of, read_summary, read_tables, render_folder

STYLE = Path(__file__).parents[2] / "glue_bench/report/page/templates/page.css"


def rows_of(page: Page) -> dict[tuple[str, str], Entry]:
    return {(entry.row.setting.encoder, entry.row.task): entry for entry in page.entries}


def test_the_page_is_sound_html_that_names_every_plot_and_table_and_loads_nothing(text: str) -> None:
    reader = check_structure(text)
    assert len(reader.of("svg")) == 3 + 3 + 6 + 2 + 2  # seeds, curves, errors, calibration, costs
    links = [element.attributes["href"] for element in reader.of("a")]
    assert links[0] == "#main"
    assert "#origins" in links
    style = reader.of("style")[0].text
    assert not re.search(r"url\(|@import|https?:", style)
    assert "default-src 'none'" in text


def test_every_plot_has_a_description_and_a_table_of_its_numbers(text: str) -> None:
    descriptions = [element.text for element in Reader(text).of("desc")]
    assert re.search(
        r"distilroberta: 3 seeds at [\d., ]+ and [\d.]+; median [\d.]+; 95 % interval \[[^]]+\]; published 67\.9\.",
        " ".join(descriptions),
    )
    assert re.search(
        r"Of \d+ predictions for entailment, \d+ are entailment and \d+ are not_entailment", " ".join(descriptions)
    )
    assert any(words.startswith("Expected calibration error: distilroberta") for words in descriptions)
    figures = [element for element in Reader(text).of("figure") if "Mean score and" not in element.text]
    assert all("Numbers" in element.text for element in figures)


def test_scores_are_in_the_cards_order_with_the_published_number_and_a_verdict_in_words(page: Page, text: str) -> None:
    rows = rows_of(page)
    assert rows["distilroberta", "rte"].published == 67.9
    assert float(np.median(rows["distilroberta", "rte"].row.values)) == rows["distilroberta", "rte"].row.median
    verdicts = {key: entry.verdict.kind for key, entry in rows.items() if entry.verdict}
    assert verdicts["roberta", "rte"] == "inconclusive"
    assert verdicts["distilroberta", "mnli"] == "not comparable"
    explained = [element for element in Reader(text).of("span") if "dt" in element.parents]
    assert {element.attributes["data-kind"] for element in explained} == set(verdicts.values())
    head, _, published, *_ = read_tables(text)["Median scores, and the published ones"]
    assert head == ["encoder", "MNLI", "STS-B", "RTE"]
    assert published[-1] == "67.9"


def test_the_median_follows_the_task_and_the_notes_come_last(text: str) -> None:
    titles = [element.text for element in Reader(text).of("th") if element.attributes.get("scope") == "col"]
    scores = titles[titles.index("task") :]
    assert scores[: scores.index("notes") + 1] == [
        *("task", "median", "lowest, highest", "95 % interval", "published", "difference", "verdict"),
        *("metric", "dev rows", "seeds", "mean ± sd", "notes"),
    ]


def test_the_summary_counts_the_rows_that_may_be_compared(text: str, tmp_path: Path) -> None:
    assert read_summary(text).startswith(
        "18 finished runs of distilroberta and roberta on 3 tasks, 3 seeds each; 1 run without a score"
    )
    assert read_summary(text).endswith("4 of 6 rows are comparable with published numbers.")
    write_run(tmp_path, task="mnli", reasons=("a subset",), encoder=ROBERTA)
    assert read_summary(render_folder(tmp_path)).endswith("None of 1 row is comparable with published numbers.")


def test_the_summary_says_that_sample_data_is_not_glue(tmp_path: Path) -> None:
    words = ("data=sample",)
    facts: dict[str, Any] = {
        "source": "sample",
        "dataset": None,
        "revision": None,
        "fingerprint": "ab",
        "rows": {"train": 9},
    }
    write_run(tmp_path, task="rte", encoder=ROBERTA, words=words, data=facts, reasons=("sample data",))
    assert "All of it is on generated sample data, not on GLUE" in read_summary(render_folder(tmp_path))
    write_run(tmp_path, task="sst2", encoder=ROBERTA)
    assert read_summary(render_folder(tmp_path)).endswith(
        "1 of 2 rows is comparable with published numbers; 1 is on generated sample data, not on GLUE."
    )


def test_each_setting_has_a_line_in_the_first_table_and_a_column_for_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path, task="mrpc", setting="a", encoder=ROBERTA)
    for setting, epochs in (("a", 10), ("c", 3), ("b", 25), ("d", 5)):
        write_run(tmp_path, task="rte", setting=setting, encoder=ROBERTA, words=(f"trainer.epochs={epochs}",))
    page = page_of(tmp_path)
    text = render_page(page)
    tables = read_tables(text)
    lines = [line for line in tables["Median scores, and the published ones"] if line[0].startswith("roberta, ")]
    assert [line[0] for line in lines] == [f"roberta, epochs={epochs}" for epochs in (3, 5, 10, 25)]
    assert [line[1].split()[0] for line in lines].count("not") == 3  # MRPC was run with ten epochs only
    (scores,) = [table for title, table in tables.items() if title.startswith("Scores of roberta")]
    assert scores[0][:3] == ["task", "epochs", "median"]
    assert [line[1] for line in scores[1:] if line[0] == "RTE"] == ["3", "5", "10", "25"]
    assert [entry.label for entry in page.entries[1:]] == [f"roberta, epochs={epochs}" for epochs in (3, 5, 10, 25)]
    assert "fingerprint" not in " ".join(" ".join(line) for line in scores)


def test_a_grid_has_a_map_of_its_cells(tmp_path: Path) -> None:
    for rate, batch, score in ((2e-5, 16, 0.7), (1e-5, 16, 0.6), (1e-5, 32, 0.5)):
        words = ("recipe=roberta_paper", f"trainer.learning_rate={rate}", f"trainer.batch_size={batch}")
        selected = {"epoch": 1, "step": 1, "on": "validation", "rows": 277, "score": score}
        about: dict[str, Any] = {"recipe": "roberta_paper", "selection": "best", "selected": selected, "words": words}
        write_run(tmp_path, task="rte", setting=f"{rate}{batch}", encoder=ROBERTA, **about)
    text = render_page(page_of(tmp_path))
    title = "roberta on RTE: learning_rate (down) and batch_size (across)"
    head, *rows = read_tables(text)[title]
    assert head == ["learning_rate", "16", "32"]
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    assert cells == [
        ["1e-5", "60.0 1 seed", "50.0 1 seed"],
        ["2e-5", "70.0 1 seed chosen", "not run"],
    ]
    assert check_structure(text)


def test_a_grid_of_null_and_without_a_score_has_a_map_too(tmp_path: Path) -> None:
    selected = {"epoch": 1, "step": 1, "on": "holdout", "rows": 277, "score": None}
    for dropout in (None, 0.1):
        config = {**make_record().config, "cell": {"dropout": dropout}, "grid": {"dropout": [0.1, None]}}
        about: dict[str, Any] = {"config": config, "selection": "holdout", "selected": selected}
        write_run(tmp_path, task="rte", setting=str(dropout), **about)
    rows = read_tables(render_page(page_of(tmp_path)))["tiny on RTE: dropout"]
    assert [row[0] for row in rows] == ["dropout", "0.1", "null"]
    assert all("no score" in row[1] for row in rows[1:])


def test_a_row_that_is_not_comparable_still_says_how_its_setting_differs(tmp_path: Path) -> None:
    write_run(tmp_path, task="rte", setting="a", encoder=ROBERTA)
    write_run(
        tmp_path, task="rte", setting="b", encoder=ROBERTA, words=("trainer.epochs=5",), reasons=("other weights",)
    )
    (entry,) = [entry for entry in entries_of(tmp_path) if not entry.row.comparable]
    tables = read_tables(render_folder(tmp_path))
    (lines,) = [found for caption, found in tables.items() if caption.startswith("Scores of")]
    (notes,) = [line[-1].split("; ") for line in lines if "not comparable" in line]
    assert notes[0] == "other weights"
    assert entry.label == "roberta, epochs=5"
    assert len(notes) == len(set(notes))


def test_every_verdict_has_a_different_mark_and_colour() -> None:
    style = STYLE.read_text(encoding="utf-8")
    marks = [re.search(rf'data-kind="{kind}"\]::before \{{ content: "([^"]+)"', style) for kind in VERDICTS]
    assert all(marks)
    assert len({mark[1] for mark in marks if mark}) == len(VERDICTS)


def test_text_is_readable_on_every_background_in_both_modes() -> None:
    style = STYLE.read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\(#(\w{6}), #(\w{6})\)", style)
    for mode in (0, 1):
        colors = {
            name: np.array([int(found[mode][at : at + 2], 16) / 255 for at in (0, 2, 4)]) for name, *found in pairs
        }
        texts = ["ink", "muted", "link", *(name for name in colors if name.startswith("series"))]
        assert len(texts) == 9
        for name in texts:
            assert contrast(colors[name], colors["paper"]) >= 4.5, (name, mode)
        for name in texts[3:]:  # a full cell of a matrix
            ground = SHADE * colors[name] + (1 - SHADE) * colors["paper"]
            assert contrast(colors["ink"], ground) >= 4.5, (name, mode)
        assert contrast(colors["ink"], colors["raised"]) >= 4.5


def contrast(color: Any, other: Any) -> float:
    """Return the contrast ratio of WCAG 2.2, 1 to 21."""
    light = [
        float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])
        for c in (color, other)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_failed_runs_are_listed_with_their_reason(text: str) -> None:
    _, *lines = read_tables(text)["Runs without a score"]
    assert lines == [["roberta", "RTE", "4", "diverged", "diverged: nan", "seed4-rorte"]]


def test_failed_runs_of_two_tasks_with_the_same_run_id_are_both_listed(tmp_path: Path) -> None:
    for task in ("rte", "mrpc"):
        RunStore(tmp_path).save(make_record(task=task, status="failed", precision="", encoder=ROBERTA, error="lost"))
    _, *lines = read_tables(render_folder(tmp_path))["Runs without a score"]
    assert [line[1] for line in lines] == ["MRPC", "RTE"]


def test_the_same_records_give_the_same_bytes_in_any_process(results: Path, glue_bench: Callable[..., Result]) -> None:
    words = ["report", "--format", "html", f"results_dir={results}", "--out"]
    here, there = Path("here.html"), Path("there.html").resolve()
    assert main([*words, str(here)]) == 0
    done = glue_bench(*words, str(there), env={"PYTHONHASHSEED": "1"})  # ours is another one
    assert (done.returncode, done.stderr.strip()) == (0, f"written: {there}"), done.stderr
    assert here.read_bytes() == there.read_bytes()


def test_without_out_the_page_is_written_to_results_dir(tmp_path: Path, glue_bench: Callable[..., Result]) -> None:
    done = glue_bench("report", "--format", "html")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "written: results/report.html\n" in done.stderr
    reader = check_structure((tmp_path / "results/report.html").read_text(encoding="utf-8"))
    assert reader.of("h1")[0].text == "No runs yet"


def test_dev_scores_in_a_history_are_drawn_and_the_last_one_is_listed(tmp_path: Path) -> None:
    for seed in (1, 2):
        record = write_run(tmp_path, task="rte", seed=seed, encoder=DISTILROBERTA)
        path = RunStore(tmp_path).folder("distilroberta", "rte", record.run_id) / "history.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines[-2:] if seed == 1 else []):
            line["dev"] = 0.5 + 0.125 * number
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (entry,) = entries_of(tmp_path)
    assert entry.dev_scores == {1: 62.5}
    text = render_page(page_of(tmp_path))
    check_structure(text)
    head, *rows = read_tables(text)["RTE: how the training went"]
    assert head[-1] == "last dev score in training"
    assert [row[-1] for row in rows] == ["62.5", ""]
    assert "training loss and learning rate, scores on the dev set" in text


def test_missing_and_damaged_files_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    records = [write_run(tmp_path, task="rte", seed=seed, encoder=DISTILROBERTA) for seed in (1, 2, 3)]
    folders = [RunStore(tmp_path).folder("distilroberta", "rte", record.run_id) for record in records]
    (folders[0] / "predictions/validation.parquet").unlink()
    (folders[1] / "predictions/validation.parquet").write_bytes(b"PAR1 no")
    (folders[2] / "history.jsonl").write_text('{"step": 1}\n')
    (entry,) = entries_of(tmp_path)
    assert list(entry.predictions) == [3]
    assert list(entry.histories) == [1, 2]
    assert entry.unreadable == [
        f"{records[0].run_id} has no predictions/validation.parquet",
        f"{records[1].run_id} has a damaged predictions/validation.parquet (ArrowInvalid)",
        f"{records[2].run_id} has a damaged history.jsonl (line 1.loss is missing)",
    ]
    text = render_page(page_of(tmp_path))
    check_structure(text)
    assert "Left out, because files are missing or damaged (3 files)" in text


def test_a_run_in_progress_or_without_any_result_has_a_page(tmp_path: Path) -> None:
    RunStore(tmp_path).save(make_record(status="interrupted", precision="", encoder=ROBERTA))
    RunStore(tmp_path).save(make_record(task="mrpc", status="failed", precision="", encoder=ROBERTA, error="no memory"))
    page = page_of(tmp_path)
    check_structure(render_page(page))
    (lines,) = [found for caption, found in read_tables(render_page(page)).items() if caption.startswith("Scores of")]
    place = lines[0].index("verdict")
    assert {line[0]: line[place] for line in lines[1:]} == {"RTE": "not run", "MRPC": "failed 1 of 1"}


def test_rows_of_one_task_never_have_the_same_name(tmp_path: Path) -> None:
    write_run(tmp_path, task="rte", setting="a", encoder=ROBERTA)
    write_run(tmp_path, task="rte", setting="b", encoder=ROBERTA, words=("trainer.epochs=5",))
    write_run(tmp_path, task="rte", setting="c", encoder=ROBERTA, init="mnli:seed1-x", reasons=("other weights",))
    write_run(tmp_path, task="rte", setting="d", encoder=ROBERTA, recipe="hf_2019")
    write_run(tmp_path, task="rte", setting="e", encoder={**ROBERTA, "revision": "main"})
    labels = [entry.label for entry in entries_of(tmp_path)]
    assert len(labels) == len(set(labels)) == 5
    assert any("init=mnli" in label for label in labels)
    assert any("epochs=5" in label for label in labels)


def test_costs_of_two_devices_are_never_in_one_plot_or_table(tmp_path: Path) -> None:
    for encoder in (DISTILROBERTA, ROBERTA):
        for seed, device in ((1, "cpu, 1 thread"), (2, "NVIDIA H100")):
            write_run(tmp_path, task="rte", seed=seed, setting=encoder["name"], encoder=encoder, device=device)
    text = render_folder(tmp_path)
    captions = [caption for caption in read_tables(text) if caption.startswith("On ")]
    assert captions == ["On NVIDIA H100, float32", "On cpu, 1 thread, float32"]
    assert len([one for one in Reader(text).of("title") if one.text.startswith("Mean score and")]) == 4
