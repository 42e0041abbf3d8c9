"""`glue-bench card`: a finished run as a model to share, with every score and no false claim."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from transformers import pipeline

from glue_bench.cli import main
from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256
from glue_bench.model_card import MANIFEST, write_card
from glue_bench.model_card.card import eval_result_files, render_card
from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from tests.conftest import Result
from tests.support.hub_server import HubServer
from tests.support.making import DISTILROBERTA, make_record

TEXTS = {
    "rte": ("sentence1", "sentence2"),
    "stsb": ("sentence1", "sentence2"),
    "sst2": ("sentence",),
    "mnli": ("premise", "hypothesis"),
}


CARD_FILES = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """Copy the results, so that a test may damage them."""
    return Path(shutil.copytree(trained, tmp_path / "results"))


def data_of(text: str) -> Any:
    """Return the metadata as the hub's client reads it; its attributes depend on the text."""
    return ModelCard(text).data


def run_of(results: Path, task: str) -> FinishedRun:
    return find_finished(RunStore(results), task=task, need_model=True)


def card_of(record: Record) -> str:
    """Render the README.md of a record."""
    return render_card(record, task_of(record), place=".")


@pytest.mark.parametrize("task", list(TEXTS))
def test_a_pipeline_of_the_folder_predicts_what_the_run_stored(task: str, results: Path, local_glue: Path) -> None:
    assert main(["card", f"task={task}", f"results_dir={results}", "--out", "model"]) == 0
    run = run_of(results, task)
    split = run.task.validation[0]
    rows = pq.read_table(local_glue / task / f"{split}.parquet").to_pydict()
    columns: list[list[str]] = [rows[name] for name in TEXTS[task]]
    asked: Any = (
        columns[0] if len(columns) == 1 else [{"text": a, "text_pair": b} for a, b in zip(*columns, strict=True)]
    )
    classify = pipeline("text-classification", model="model", device="cpu", function_to_apply="none", top_k=None)
    said: Any = classify(asked)
    named = [{each["label"]: each["score"] for each in row} for row in said]
    names = run.task.labels or ["LABEL_0"]
    found = np.array([[row[name] for name in names] for row in named])
    kept = pq.read_table(run.folder / "predictions" / f"{split}.parquet")
    stored = np.stack([kept[f"logit_{code}"].to_numpy() for code in range(len(names))], axis=1)
    np.testing.assert_allclose(found, stored, atol=1e-6)
    if task == "stsb":  # without this, it gives the score itself
        plain: Any = pipeline("text-classification", model="model", device="cpu")(asked)
        np.testing.assert_allclose([row["score"] for row in plain], stored[:, 0], atol=1e-6)


@pytest.mark.parametrize("task", ["rte", "sst2", "stsb"])
def test_the_snippet_in_the_card_runs_in_its_folder(
    task: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_card(run_of(results, task), tmp_path / "model")
    match = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert match is not None
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    lines = match[1].strip().splitlines()
    exec("\n".join([*lines[:-1], f"answer = {lines[-1]}"]), names)  # noqa: S102 - what a reader would do
    labels = {each["label"] for each in names["answer"]}
    assert labels == set(run_of(results, task).task.labels or ["LABEL_0"])


def test_the_hubs_own_reader_finds_every_score_with_its_circumstances(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "mnli")
    folder = write_card(run, tmp_path / "model")
    data: Any = ModelCard.load(folder / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.tags) == ("transformers", "text-classification", ["glue-bench"])
    assert data.model_name == "tiny-mnli-seed1"
    assert (data.base_model, data.datasets, data.license) == (None, None, None)  # a local encoder and local rows
    found = {(each.dataset_split, each.metric_type): each for each in data.eval_results}
    assert list(found) == [("validation_matched", "accuracy"), ("validation_mismatched", "accuracy")]
    each = found["validation_mismatched", "accuracy"]
    assert each.metric_value == round(run.record.scores["validation_mismatched"]["accuracy"], 6)
    assert each.metric_args["rows"] == 9
    assert (each.metric_args["seed"], each.metric_args["recipe"]) == (1, "default")
    assert each.metric_args["recipe_changes"] == {"epochs": "1"}
    assert each.metric_args["not_comparable_because"] == run.record.not_comparable_because
    assert each.dataset_type == "local-files"
    assert each.dataset_name.startswith("MNLI, local files; not comparable: train has 48 rows, official")
    assert not (folder / ".eval_results").exists()  # nothing for a leaderboard
    assert json.loads((folder / "config.json").read_text())["id2label"] == {
        "0": "entailment",
        "1": "neutral",
        "2": "contradiction",
    }


def hub_record(**changes: Any) -> Record:
    scores = {"validation": {"accuracy": 0.8725490196078431, "f1": 0.9}}
    return make_record(
        task="mrpc",
        scores=scores,
        encoder={**DISTILROBERTA, "weights_sha256": "a" * 64},
        ended="2026-11-02T10:00:00.000+00:00",
        **changes,
    )


def test_a_comparable_run_on_the_hubs_rows_gets_a_file_for_each_score() -> None:
    record = hub_record()
    files = eval_result_files(record, task_of(record))
    assert list(files) == ["mrpc_validation_accuracy.yaml", "mrpc_validation_f1.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(yaml.safe_dump(files["mrpc_validation_accuracy.yaml"])))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("nyu-mll/glue", "mrpc", 0.872549)
    assert entry.dataset_revision == "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
    assert entry.date == "2026-11-02T10:00:00.000+00:00"
    assert (entry.notes or "").startswith("accuracy on the 408 rows of validation, seed 1, glue-bench recipe default.")
    data = data_of(card_of(record))
    assert (data.base_model, data["base_model_relation"]) == ("distilbert/distilroberta-base", "finetune")
    assert data.datasets == ["nyu-mll/glue"]
    assert [(each.metric_type, each.metric_value) for each in data.eval_results] == [
        ("accuracy", 0.872549),
        ("f1", 0.9),
    ]
    assert {each.dataset_revision for each in data.eval_results} == {"bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"}


@pytest.mark.parametrize(
    "changes",
    [
        {"reasons": ("train has 40 rows, official 3,668",)},
        {"reasons": ("sample data",), "data": {"source": "sample", "dataset": None, "revision": None}},
        {"reasons": ("starts from the fine-tuned mnli model, the published numbers do not",), "init": "mnli:seed1-1"},
    ],
    ids=["subset", "sample", "init"],
)
def test_scores_that_may_not_be_compared_say_so_wherever_they_appear(changes: dict[str, Any]) -> None:
    if "data" in changes:
        rows = {"train": 640, "validation": 200}
        changes = {**changes, "data": {**changes["data"], "fingerprint": "0", "rows": rows}}
    record = hub_record(**changes)
    text = card_of(record)
    assert eval_result_files(record, task_of(record)) == {}
    assert f"Not comparable with published GLUE numbers: {changes['reasons'][0]}." in text
    assert [line.endswith("not comparable |") for line in text.splitlines() if line.startswith("| validation |")] == [
        True,
        True,
    ]
    for each in data_of(text).eval_results:
        assert "not comparable" in each.dataset_name
        assert each.metric_args["comparable"] is False
        assert (each.dataset_type == "nyu-mll/glue") == (record.data["source"] == "hub")


def test_no_card_claims_that_somebody_verified_it() -> None:
    record = hub_record()
    files = yaml.safe_dump(list(eval_result_files(record, task_of(record)).values()))
    for text in (card_of(record), files):
        assert "verif" not in text.lower()
        assert "evaluation_framework" not in text


def test_weights_chosen_on_the_scored_rows_are_called_optimistic() -> None:
    selected = {"epoch": 2, "step": 5, "on": "validation", "rows": 408, "score": 0.5, "scores": [0.4, 0.5]}
    record = hub_record(selection="best", selected=selected)
    (entry, _) = eval_result_files(record, task_of(record)).values()
    for text in (card_of(record), entry[0]["notes"]):
        assert "The epoch was chosen on the rows that are scored: the scores are optimistic." in text


def test_regression_metrics_have_the_hubs_names() -> None:
    data = data_of(card_of(make_record(task="stsb")))
    assert [each.metric_type for each in data.eval_results] == ["pearsonr", "spearmanr"]
    assert data.metrics == ["pearsonr", "spearmanr"]


HOSTILE = (
    "x`|</td><script>alert(1)</script>\n---\nlicense: mit\n[a](javascript:b) *c* \"d\" 'e' {f}: #g ```\n# h\x1b[31m"
)


def test_hostile_names_stay_text_in_yaml_and_markdown() -> None:
    plain = hub_record()
    task = {**plain.config["task"], "title": HOSTILE, "labels": ["no|`<b>", "=yes\n---\n"]}
    encoder = {**DISTILROBERTA, "name": HOSTILE, "hub_id": HOSTILE, "revision": HOSTILE, "weights_sha256": HOSTILE}
    record = dataclasses.replace(
        plain,
        encoder=encoder,
        data={**plain.data, "dataset": HOSTILE, "revision": HOSTILE},
        config={**plain.config, "task": task, "encoder": {**plain.config["encoder"], "hub_id": HOSTILE}},
        not_comparable_because=[HOSTILE],
        comparable=False,
        recipe=HOSTILE,
        versions={HOSTILE: HOSTILE},
        device=HOSTILE,
        git=HOSTILE,
    )
    text = card_of(record)
    data = data_of(text)
    assert data.license is None
    assert data.base_model == HOSTILE
    assert {each.dataset_type for each in data.eval_results} == {HOSTILE}
    prose = re.sub(
        r"(?ms)^(`{3,})\w+\n.*?^\1$", "", ModelCard(text).text
    )  # without the fenced code, whose fences are longer
    assert "<script" not in prose.replace("\\<", "")
    assert "\x1b" not in prose
    assert not re.search(r"(?<!\\)[`<>\[\]*]", prose)
    headings = [line for line in prose.splitlines() if line.startswith("#")]
    assert [line.split()[0] for line in headings] == ["#", *["##"] * 6]
    for line in prose.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 7), line


def test_a_cards_folder_holds_what_the_run_kept_and_no_path_of_this_machine(
    results: Path, tiny_roberta: Path, local_glue: Path, tmp_path: Path
) -> None:
    run = run_of(results, "rte")
    folder = write_card(run, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, *CARD_FILES]
    assert file_sha256(folder / "model.safetensors") == run.record.model_sha256
    texts = "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".json"))
    for place in (tiny_roberta, local_glue, results, tmp_path):
        assert str(place) not in texts
    assert "encoder.path=FOLDER" in texts


def test_a_card_is_replaced_only_if_nobody_changed_it(results: Path, tmp_path: Path) -> None:
    run, out = run_of(results, "rte"), tmp_path / "model"
    write_card(run, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_card(run, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(UsageError, match=f"holds the card of the run {run.record.run_id}"):
        write_card(run_of(results, "sst2"), out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt was added since the card was written"):
        write_card(run, out)
    (out / "notes.txt").unlink()
    with (out / "README.md").open("a") as readme:
        readme.write("license\n")
    with pytest.raises(UsageError, match=r"README\.md was changed since the card was written"):
        write_card(run, out)
    assert (out / "README.md").read_text().endswith("license\n")


def test_a_folder_or_file_of_the_users_is_never_replaced(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "rte")
    (tmp_path / "mine").mkdir()
    write_card(run, tmp_path / "mine")  # empty
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match=r"holds files that are not a card's \(thesis\.tex\)"):
        write_card(run, tmp_path / "other")
    with pytest.raises(UsageError, match="is a file"):
        write_card(run, tmp_path / "other" / "thesis.tex")
    with pytest.raises(UsageError, match="holds files that are not a card's"):
        write_card(run, run.folder)
    (tmp_path / "link").symlink_to("mine")
    write_card(run, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years"


def test_weights_that_are_not_the_records_get_no_card(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "rte")
    path = run.model_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(InputError, match="do not belong to the run's record"):
        write_card(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_configuration_with_other_labels_gets_no_card(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "rte")
    path = run.model_folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "id2label": {"0": "not_entailment", "1": "entailment"}}))
    with pytest.raises(InputError, match="its labels are not_entailment, entailment, but the run's are entailment"):
        write_card(run, tmp_path / "model")
    path.write_text("{}")
    with pytest.raises(InputError, match="has no readable labels"):
        write_card(run, tmp_path / "model")


def test_a_run_without_its_tokenizer_gets_no_card(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(results, "rte").model_folder
    for path in folder.glob("*token*"):
        path.unlink()
    assert main(["card", "task=rte", f"results_dir={results}", "--out", "model"]) == 3
    error = capsys.readouterr().err
    assert f"{folder}: no tokenizer.json and no vocabulary file" in error
    assert len(error.splitlines()) == 1
    assert not Path("model").exists()


def test_a_folder_that_is_not_a_card_is_refused_without_searching_its_subfolders(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk" / "home").mkdir(parents=True)

    def search(folder: Path, *_: object) -> Iterator[Path]:
        raise AssertionError(f"{folder} is searched")

    monkeypatch.setattr(Path, "rglob", search)
    with pytest.raises(UsageError, match=r"holds files that are not a card's \(home\)"):
        write_card(run_of(results, "rte"), tmp_path / "disk")


@dataclasses.dataclass
class Pushing:
    """The command line against a hub on loopback that accepts uploads."""

    server: HubServer
    root: Path
    call: Callable[..., Result]

    def push(self, results: Path, repo_id: str, **env: str) -> Result:
        """Run `glue-bench card task=rte --push`."""
        settings = {
            "HF_ENDPOINT": self.server.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "hf_right",
        }
        return self.call("card", "task=rte", f"results_dir={results}", "--push", repo_id, env={**settings, **env})


@pytest.fixture
def hub(tmp_path: Path, glue_bench: Callable[..., Result]) -> Iterator[Pushing]:
    """Start a hub without repositories."""
    with HubServer(tmp_path / "hub") as server:
        server.accept_uploads("hf_right")
        yield Pushing(server, tmp_path / "hub", glue_bench)


def test_a_push_makes_a_private_repository_with_the_card_and_the_weights(results: Path, hub: Pushing) -> None:
    result = hub.push(results, "my-org/tiny-rte")
    assert result.returncode == 0, result.stderr
    run, uploads = run_of(results, "rte"), hub.server.uploads
    assert uploads is not None
    assert uploads.private == {"my-org/tiny-rte": True}
    commit, folder = hub.server.repos["model", "my-org/tiny-rte"]["main"]
    assert result.stderr.splitlines()[-1] == f"pushed: {hub.server.endpoint}/my-org/tiny-rte/commit/{commit}"
    assert sorted(path.name for path in folder.iterdir()) == [".gitattributes", *CARD_FILES]
    assert file_sha256(folder / "model.safetensors") == run.record.model_sha256
    assert 'model="my-org/tiny-rte"' in (folder / "README.md").read_text()
    assert len(uploads.summaries) == 1


def test_a_repository_that_holds_something_is_left_alone(results: Path, hub: Pushing) -> None:
    assert hub.push(results, "my-org/tiny-rte").returncode == 0
    before = dict(hub.server.repos["model", "my-org/tiny-rte"])
    result = hub.push(results, "my-org/tiny-rte")
    assert result.returncode == 2
    assert "--push my-org/tiny-rte: the repository already holds README.md" in result.stderr.splitlines()[-1]
    assert hub.server.repos["model", "my-org/tiny-rte"] == before


def test_without_push_no_request_is_made(results: Path, hub: Pushing) -> None:
    env = {"HF_ENDPOINT": hub.server.endpoint, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_right"}
    assert hub.call("card", "task=rte", f"results_dir={results}", env=env).returncode == 0
    assert hub.server.requests == []


@pytest.mark.parametrize(
    ("repo_id", "env", "code", "message"),
    [
        ("my-org/tiny", {"HF_TOKEN": ""}, 2, "not logged in. Set HF_TOKEN to a token that may write"),
        ("my-org/tiny", {"HF_HUB_OFFLINE": "1"}, 2, "HF_HUB_OFFLINE is set"),
        ("tiny", {}, 2, "--push tiny: must be ORG/NAME"),
        ("my-org/a--b", {}, 2, "--push my-org/a--b: must be ORG/NAME"),
        ("../tiny", {}, 2, "--push ../tiny: must be ORG/NAME"),
        ("my-org/tiny", {"HF_TOKEN": "hf_wrong"}, 3, "does not know this token"),
        ("my-org/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, 3, "--push my-org/tiny: http://127.0.0.1:9: "),
    ],
    ids=["no token", "offline", "no organisation", "dashes", "dots", "wrong token", "nobody there"],
)
def test_each_obstacle_to_a_push_is_one_line(
    repo_id: str, env: dict[str, str], code: int, message: str, results: Path, hub: Pushing
) -> None:
    result = hub.push(results, repo_id, **env)
    assert result.returncode == code, result.stderr
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert hub.server.repos == {}
    if code == 2:  # found before anything was written
        assert len(result.stderr.splitlines()) == 1
        assert not (results / "cards").exists()


def test_a_card_needs_no_torch(results: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"""
import sys
from glue_bench.cli import main
assert main(["card", "task=rte", "results_dir={results}", "--out", "model"]) == 0
sys.exit("imported torch" if {{"torch", "transformers"}} & set(sys.modules) else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_the_default_place_is_under_the_results(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "task=sst2", f"results_dir={results}"]) == 0
    run = run_of(results, "sst2")
    captured = capsys.readouterr()
    assert captured.out.strip() == str(results / "cards" / "tiny" / "sst2" / run.record.run_id)
    assert os.path.isfile(f"{captured.out.strip()}/README.md")  # noqa: PTH113
    assert "the card says: not comparable: train has 48 rows, official 67,349" in captured.err


def test_the_usual_folder_of_cards_is_never_a_link(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = results.parent / "victim"
    victim.mkdir()
    (results / "cards").symlink_to(victim)
    assert main(["card", "task=rte", f"results_dir={results}"]) == 2
    assert "cards: is a link" in capsys.readouterr().err
    assert list(victim.iterdir()) == []


def test_weights_without_their_tokenizer_are_no_model(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(results, "rte").model_folder
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.json").write_text("{}")  # without merges.txt
    words = [f"results_dir={results}", "task=rte"]
    assert main(["card", *words]) == 3
    assert main(["predict", *words, "--text", "a", "--text", "b"]) == 3
    assert [("no tokenizer.json" in line) for line in capsys.readouterr().err.splitlines()] == [True, True]


def test_a_folder_with_another_cards_manifest_is_not_searched(results: Path, tmp_path: Path) -> None:
    run, out = run_of(results, "rte"), tmp_path / "card"
    write_card(run, out)
    (out / "deep").mkdir()
    (out / "deep" / "loop").symlink_to("/")
    with pytest.raises(UsageError, match="deep was added since the card was written"):
        write_card(run, out)
    (out / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(UsageError, match="holds files that are not a card's"):
        write_card(run, out)
