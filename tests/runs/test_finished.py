"""Which finished run is meant, whether its weights are its own, and what they predict."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from glue_bench.cli import main
from glue_bench.config.compose import compose_run
from glue_bench.errors import GlueBenchError, InputError, UsageError
from glue_bench.files import file_sha256
from glue_bench.runs.finished import FinishedRun, check_weights, find_finished, repeating_words
from glue_bench.runs.identity import make_requests
from glue_bench.runs.inference import FineTuned
from glue_bench.runs.store import RunStore
from tests.support.making import make_record
from tests.support.training import make_distilbert


def store_of(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "results")


def train(words: list[str], task: str, *more: str) -> FinishedRun:
    """Run the words once, and return the run with its weights."""
    assert main(["run", f"task={task}", "save_model=true", *words, *more]) == 0
    folder = next(word.partition("=")[2] for word in reversed([*words, *more]) if word.startswith("results_dir="))
    return find_finished(RunStore(Path(folder)), task=task, need_model=True)


def stored_logits(run: FinishedRun, split: str) -> NDArray[np.float32]:
    table = pq.read_table(run.folder / "predictions" / f"{split}.parquet")
    return np.stack([table[name].to_numpy() for name in table.column_names if name.startswith("logit_")], axis=1)


@pytest.mark.parametrize(
    ("family", "task"),
    [("tiny_roberta", "rte"), ("tiny_roberta", "stsb"), ("tiny_bert", "mnli"), ("tiny_bert", "sst2")],
)
def test_the_kept_weights_give_the_logits_that_the_run_stored(
    family: str, task: str, tiny_words: list[str], local_glue: Path, request: pytest.FixtureRequest
) -> None:
    encoder: Path = request.getfixturevalue(family)
    length = "trainer.max_length=16"  # cuts rows, so that another length would show
    run = train(tiny_words, task, f"encoder.path={encoder}", length, "trainer.learning_rate=1e-3")
    fine_tuned = FineTuned(run, device="cpu")
    assert fine_tuned.model.engine == run.record.engine == "flat"
    for split in run.task.validation:
        rows = pq.read_table(local_glue / task / f"{split}.parquet").to_pydict()
        logits = fine_tuned.predict([rows[name] for name in run.task.texts])
        assert np.abs(logits - stored_logits(run, split)).max() < 1e-6
        assert logits.std(axis=0).min() > 1e-5  # no constant would pass
    saved = load_file(run.model_folder / "model.safetensors")
    loaded = fine_tuned.model.standard_state()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_another_family_predicts_what_its_run_stored(
    engine: str, tiny_words: list[str], tiny_bert: Path, local_glue: Path, tmp_path: Path
) -> None:
    folder = make_distilbert(tmp_path / "distilbert", tiny_bert)
    words = [
        f"encoder.path={folder}",
        "trainer.max_length=64",
        "trainer.learning_rate=1e-3",
        f"trainer.engine={engine}",
    ]
    run = train(tiny_words, "rte", *words)
    rows = pq.read_table(local_glue / "rte" / "validation.parquet").to_pydict()
    logits = FineTuned(run, device="cpu").predict([rows["sentence1"], rows["sentence2"]])
    assert run.record.engine == engine
    assert np.abs(logits - stored_logits(run, "validation")).max() < 1e-6


def test_a_record_names_the_weights_that_were_kept_and_none_otherwise(tiny_words: list[str], tmp_path: Path) -> None:
    assert main(["run", "task=rte", *tiny_words]) == 0
    assert find_finished(store_of(tmp_path)).record.model_sha256 is None
    with pytest.raises(
        InputError,
        match=r"^this run kept no weights\. To train tiny rte .* again and keep them: glue-bench run task=rte",
    ):
        find_finished(store_of(tmp_path), need_model=True)
    run = train(tiny_words, "rte")  # runs again: the weights were not kept
    assert run.record.model_sha256 == file_sha256(run.model_folder / "model.safetensors")
    assert check_weights(run) == run.model_folder


def test_weights_of_another_run_or_without_a_hash_are_refused(tiny_words: list[str]) -> None:
    run = train(tiny_words, "rte")
    path = run.model_folder / "model.safetensors"
    unnamed = dataclasses.replace(run, record=dataclasses.replace(run.record, model_sha256=None))
    with pytest.raises(InputError, match=r"model_sha256 None\. Remove .*model, then: glue-bench run task=rte"):
        check_weights(unnamed)
    weights = load_file(path)
    weights["classifier.out_proj.bias"] += 1
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="these weights do not belong to the run's record"):
        FineTuned(run)
    path.unlink()
    with pytest.raises(InputError, match="kept no weights"):
        check_weights(run)


def test_a_model_in_the_folder_of_a_prefix_run_is_not_taken_for_its_own(tmp_path: Path) -> None:
    store, record = store_of(tmp_path), make_record(words=("peft=prefix",))
    folder = store.save(record).parent
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_text("of another run")
    for find in (
        lambda: find_finished(store, need_model=True),
        lambda: find_finished(store, run_id=str(folder), need_model=True),
        lambda: check_weights(FinishedRun(record=record, folder=folder)),
    ):
        with pytest.raises(InputError, match=r"a prefix cannot be merged into a model.*peft loads .*adapter$"):
            find()


def spoil_weights(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({name: 2 * each for name, each in weights.items()}, model / "model.safetensors", {"format": "pt"})


def add_adapter(model: Path) -> None:
    (model / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def remove_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


def test_the_model_of_a_run_is_used_only_as_its_run_left_it_by_predict_and_by_runs_that_start_from_it(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tiny_words, "mnli")
    shutil.copytree(run.model_folder, tmp_path / "as it was")
    child = ["run", "task=rte", "init={rte:mnli}", *tiny_words]
    for spoil, reason in (
        (spoil_weights, "model.safetensors: these weights do not belong to the run's record"),
        (add_adapter, "model: an adapter such as LoRA beside a model"),
        (remove_tokenizer, "model: no tokenizer.json and no vocabulary file"),
        (shutil.rmtree, "this run kept no weights. To train tiny mnli seed "),
    ):
        spoil(run.model_folder)
        capsys.readouterr()
        assert main(["predict", f"run_id={run.folder}", "--text", "a", "--text", "b"]) == 3
        assert reason in capsys.readouterr().err
        if spoil is not shutil.rmtree:  # without any, the other run is trained again
            assert main(child) == 3
            assert reason in capsys.readouterr().err
            shutil.rmtree(run.model_folder)
        shutil.copytree(tmp_path / "as it was", run.model_folder)
    assert main(child) == 0


def test_a_saved_model_of_another_shape_is_refused_in_one_line(tiny_words: list[str]) -> None:
    run = train(tiny_words, "rte")
    record = dataclasses.replace(run.record, task="stsb", config=make_record(task="stsb").config)
    with pytest.raises(InputError, match="no classifier with 1 outputs was saved there") as caught:
        FineTuned(dataclasses.replace(run, record=record))
    assert len(str(caught.value).splitlines()) == 1


def test_exactly_one_run_must_match_and_the_error_says_how_they_differ(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    for seed in (1, 2):
        store.save(make_record(task="rte", seed=seed))
    store.save(make_record(task="mrpc", seed=1))
    store.save(make_record(task="rte", seed=2, setting="111", recipe="hf_2019"))
    store.save(make_record(task="cola", status="diverged"))
    assert find_finished(store, task="mrpc").record.task == "mrpc"
    assert find_finished(store, task="rte", seed=1).record.seed == 1
    assert find_finished(store, run_id="seed2-111").record.recipe == "hf_2019"
    expected: list[tuple[str | None, int | None, str]] = [
        (None, None, "4 finished runs are in .*; add one of task=mrpc, task=rte$"),
        ("rte", None, "3 finished runs match task=rte in .*; add one of seed=1, seed=2$"),
        ("rte", 2, r"one of run_id=seed2-000 \(recipe=default\), run_id=seed2-111 \(recipe=hf_2019\)$"),
        ("rtee", None, r"task=rtee: no run in .* fits; did you mean rte\?"),
        ("cola", None, "task=cola: diverged in .*; only finished runs have results"),
        ("mrpc", 2, r"task=mrpc seed=2: no run in .* fits all of these.* Allowed: 1$"),
    ]
    for task, number, message in expected:
        with pytest.raises(UsageError, match=message) as caught:
            find_finished(store, task=task, seed=number)
        assert len(str(caught.value).splitlines()) == 1


def test_if_weights_are_needed_only_runs_that_kept_them_count(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    records = [make_record(seed=seed) for seed in (1, 2)]
    for record in records:
        store.save(record)
    model = store.folder("tiny", "rte", records[1].run_id) / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    assert find_finished(store, task="rte", need_model=True).record.seed == 2
    with pytest.raises(InputError, match="task=rte seed=1: this run kept no weights"):
        find_finished(store, task="rte", seed=1, need_model=True)
    (model / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"task=rte: none of the 2 finished runs kept its weights\. .*: glue-bench"):
        find_finished(store, task="rte", need_model=True)


def test_an_unknown_id_names_the_one_meant_or_those_that_there_are(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    for seed in range(1, 9):
        store.save(make_record(task="rte", seed=seed))
    with pytest.raises(UsageError, match=r"^run_id=rubbish: no run in .* fits\. Allowed: seed1-000, seed2-000, "):
        find_finished(store, run_id="rubbish")
    with pytest.raises(UsageError, match=r"^run_id=seed3-00: .*; did you mean seed3-000\?"):
        find_finished(store, run_id="seed3-00")


def test_an_empty_folder_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no finished run there; `glue-bench run task=rte save_model=true` makes one"):
        find_finished(store_of(tmp_path))


def test_a_runs_folder_is_taken_wherever_it_lies(tmp_path: Path) -> None:
    saved = store_of(tmp_path).save(make_record(seed=3)).parent
    shutil.copytree(saved, tmp_path / "elsewhere")
    run = find_finished(RunStore(tmp_path / "nowhere"), run_id=str(tmp_path / "elsewhere"))
    assert (run.record.seed, run.folder) == (3, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"run_id=.* seed=4: that folder holds tiny rte seed 3"):
        find_finished(RunStore(tmp_path / "nowhere"), run_id=str(tmp_path / "elsewhere"), seed=4, need_model=True)
    record = json.loads((tmp_path / "elsewhere" / "record.json").read_text())
    for content, kind in (({**record, "status": "failed"}, UsageError), ({"status": "finished"}, InputError)):
        (tmp_path / "elsewhere" / "record.json").write_text(json.dumps(content))
        with pytest.raises(GlueBenchError) as caught:
            find_finished(RunStore(tmp_path / "nowhere"), run_id=str(tmp_path / "elsewhere"))
        assert type(caught.value) is kind


REQUESTS = [
    [],
    ["recipe=fairseq"],
    ["recipe=fairseq", "trainer.updates=null", "trainer.epochs=2"],
    ["recipe=hf_2019", "trainer.learning_rate=1e-4", "trainer.betas=[0.8,0.9]", "data.max_train_rows=30"],
    ["recipe=roberta_paper", "trainer.batch_size=32"],
    ["recipe=roberta_paper", "selection=last", "grid.epochs=[1,2]", "trainer.epochs=2"],
    ["selection=holdout", "holdout=0.25", "trainer.engine=padded", "trainer.precision=float32"],
    ["preset=sample", "trainer.accumulation=2"],
    ["trainer.updates=7"],
]


@pytest.mark.parametrize("words", REQUESTS, ids=lambda words: " ".join(words) or "default")
def test_the_words_that_repeat_a_run_name_the_same_run(words: list[str], tiny_words: list[str]) -> None:
    place = [word for word in tiny_words if not word.startswith("trainer.")]
    config = compose_run(["task=mrpc", "seed=4", *place, *words])
    (request,) = make_requests(config, [config.seed])
    record = make_record(
        task=config.task.name,
        seed=config.seed,
        run_id=request.run_id,
        recipe=config.recipe,
        selection=config.selection,
        encoder={"name": request.encoder, "hub_id": None, "revision": None},
        config=dataclasses.asdict(request.config),
    )
    again = compose_run(repeating_words(record, private=True))
    assert make_requests(again, [again.seed])[0].run_id == record.run_id
    public = " ".join(repeating_words(record, private=False))
    assert "encoder.path=FOLDER" in public
    assert str(Path(config.encoder.path or "").parent) not in public


def test_a_hub_run_repeats_at_the_commits_that_it_used() -> None:
    config = compose_run(["task=rte", "encoder=distilroberta"])
    (request,) = make_requests(config, [config.seed])
    hub = {"name": "distilroberta", "hub_id": config.encoder.hub_id, "revision": config.encoder.revision}
    record = make_record(run_id=request.run_id, encoder=hub, config=dataclasses.asdict(request.config))
    again = compose_run(repeating_words(record, private=False))
    assert make_requests(again, [again.seed])[0].run_id == record.run_id
