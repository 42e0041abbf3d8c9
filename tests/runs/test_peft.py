"""Runs with parameter-efficient methods: their scores, what they leave, and how readers tell them apart."""

import dataclasses
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.cli import main
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import RunConfig, config_from_facts
from glue_bench.models.trainable import ADAPTER_FILES
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.identity import identify
from glue_bench.runs.record import Record
from glue_bench.runs.setting import Setting, show_words, tell_apart
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.making import make_record, records_in
from tests.support.tiny import write_parquet

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # asked for by peft
# Of the tiny RoBERTa on two classes: adapters, biases or a prefix, and the head.
TRAINED = {"lora": 2048 + 1122, "ia3": 256 + 1122, "bitfit": 608 + 1122, "prefix": 4 * 128 + 1122}
TOUCHED = {
    "lora": ("query.weight", "value.weight"),
    "ia3": ("key.", "value.", "output.dense.weight"),
    "bitfit": (".bias",),
}


@pytest.fixture(scope="module")
def loud_roberta(tiny_roberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny RoBERTa whose states depend on the words, which random weights of the usual size hardly let them."""
    folder = Path(shutil.copytree(tiny_roberta, tmp_path_factory.mktemp("encoders") / "loud_roberta"))
    weights = load_file(folder / "model.safetensors")
    louder = {name: 8 * each if each.ndim == 2 and ".layer." in name else each for name, each in weights.items()}
    save_file(louder, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def train_on_sentences(method: str, encoder: Path, place: Path) -> tuple[Record, Path, list[str], list[str]]:
    """Train on two sentences; return the record, the folder of the rows, these, and the words of the run."""
    codes = [int(row % 5 < 2) for row in range(40)]
    texts = [("the cat likes the dog", "a teacher helps at school")[code] for code in codes]
    data = place / "glue" / "sst2"
    for split in ("train", "validation"):
        write_parquet(data / f"{split}.parquet", {"sentence": [*texts], "label": [*codes], "idx": [*range(40)]})
    words = [f"encoder.path={encoder}", "encoder.name=tiny", f"data.path={data.parent}", "task=sst2", f"peft={method}"]
    words += ["encoder=custom", "data=local", "trainer.batch_size=8"]
    if method == "prefix":  # a long one outweighs the few tokens of a row at first
        words += ["peft.tokens=4", "trainer.epochs=10", "trainer.learning_rate=3e-2"]
    else:
        words += ["trainer.epochs=6", "trainer.learning_rate=1e-2"]
    words += ["trainer.device=cpu", "trainer.max_length=64", "save_model=true", f"results_dir={place / 'results'}"]
    assert main(["run", *words]) == 0
    (record,) = records_in(place)
    assert record.encoder["trained"] == TRAINED[method]
    assert record.scores["validation"]["accuracy"] > 0.6  # of the majority
    return record, data, texts, words


def logits_in(folder: Path) -> torch.Tensor:
    table = pq.read_table(folder / "predictions" / "validation.parquet").to_pydict()
    return torch.tensor([table["logit_0"], table["logit_1"]]).T


def test_a_prefix_learns_and_is_kept_as_an_adapter_which_counts_as_the_weights_of_the_run(
    loud_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, _, texts, words = train_on_sentences("prefix", loud_roberta, tmp_path)
    folder = tmp_path / "results" / "runs" / "tiny" / "sst2" / record.run_id
    assert "peft=prefix" in record.execution["padded"]
    assert record.model_sha256 is None
    assert not (folder / "model").exists()
    batch = AutoTokenizer.from_pretrained(loud_roberta)(texts, padding=True, return_tensors="pt")
    base = AutoModelForSequenceClassification.from_pretrained(loud_roberta, num_labels=2)
    with torch.no_grad():
        logits = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()(**batch).logits
    torch.testing.assert_close(logits, logits_in(folder), atol=1e-5, rtol=1e-5)

    assert main(["run", *words]) == 0  # trains nothing
    assert [again.ended for again in records_in(tmp_path)] == [record.ended]
    capsys.readouterr()
    results = words[-1]
    for verb in (["predict", results, "--text", "a cat"], ["card", results, "--out", str(tmp_path / "card")]):
        assert main(verb) == 3
        assert (
            f"peft=prefix: a prefix cannot be merged into a model, so there is none; peft loads {folder / 'adapter'}"
            in (capsys.readouterr().err)
        )
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    (folder / "adapter" / "notes.txt").write_text("mine")
    store = RunStore(tmp_path / "results")
    assert not store.has_weights(record)
    assert main(["run", *words]) == 0
    assert "adapter: holds files that are not the run's; moved to adapter.old-1" in capsys.readouterr().err
    assert (folder / "adapter.old-1" / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (folder / "adapter").iterdir()) == [*ADAPTER_FILES]


@pytest.mark.parametrize("method", list(TOUCHED))
def test_a_run_learns_and_leaves_merged_weights_and_adapters(
    method: str, loud_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, data, texts, words = train_on_sentences(method, loud_roberta, tmp_path)
    folder = tmp_path / "results" / "runs" / "tiny" / "sst2" / record.run_id
    batch = AutoTokenizer.from_pretrained(folder / "model")(texts, padding=True, return_tensors="pt")
    stored, models = logits_in(folder), [AutoModelForSequenceClassification.from_pretrained(folder / "model")]
    if method != "bitfit":
        base = AutoModelForSequenceClassification.from_pretrained(loud_roberta, num_labels=2)
        models.append(peft.PeftModel.from_pretrained(base, folder / "adapter"))
    for model in models:
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(**batch).logits, stored, atol=1e-5, rtol=1e-5)
    assert (folder / "adapter").exists() is (method != "bitfit")
    before, after = load_file(loud_roberta / "model.safetensors"), load_file(folder / "model" / "model.safetensors")
    for name in before.keys() & after.keys():
        touched = any(part in name for part in TOUCHED[method]) and "attention.output.dense.weight" not in name
        assert touched or torch.equal(before[name], after[name]), name

    capsys.readouterr()
    assert main(["predict", words[-1], "--file", str(data / "validation.parquet")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 40


def test_without_the_library_the_command_says_how_to_get_it(
    tiny_words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # as Python marks a package that cannot be imported
    assert main(["run", "task=sst2", "peft=ia3", *tiny_words]) == 2
    assert "peft=ia3: the package peft is not installed: pip install 'glue-bench[peft]'" in capsys.readouterr().err
    assert main(["run", "task=sst2", "peft=bitfit", *tiny_words]) == 0


def id_of(config: RunConfig) -> str:
    return identify(config, {"encoder": {"files": "e"}, "data": {"files": "d"}}).run_id


def test_every_key_is_part_of_the_run_and_none_of_it_without_a_method() -> None:
    others = ["rank=4", "alpha=16", "dropout=0.1", "targets=[query]", "head=false"]
    every = [["peft=none"], ["peft=lora"], ["peft=ia3"], ["peft=bitfit"], ["peft=prefix"]]
    every += [["peft=prefix", "peft.tokens=4"], *(["peft=lora", f"peft.{w}"] for w in others)]
    assert len({id_of(compose_run(["task=rte", *words])) for words in every}) == len(every)
    config = compose_run(["task=rte"])
    facts = dataclasses.asdict(config)
    del facts["peft"]  # as in a plan of an earlier version
    assert id_of(config_from_facts(facts)) == id_of(config)


def test_readers_tell_methods_apart_and_repeat_them() -> None:
    chosen = [[], ["peft=lora"], ["peft=lora", "peft.rank=4", "peft.targets=[query]"], ["peft=ia3"], ["peft=bitfit"]]
    chosen += [["peft=prefix"], ["peft=prefix", "peft.tokens=4"]]
    records = [make_record(words=tuple(words)) for words in chosen]
    settings = list(map(Setting.of, records))
    assert [show_words(values) for values in tell_apart(settings)] == [
        "peft=none",
        "peft=lora, peft.rank=8, peft.targets=null",
        "peft=lora, peft.rank=4, peft.targets=[query]",
        "peft=ia3, peft.targets=null",
        "peft=bitfit",
        "peft=prefix, peft.tokens=20",
        "peft=prefix, peft.tokens=4",
    ]
    for words, record in zip(chosen, records, strict=True):
        again = compose_run(repeating_words(record, private=True))
        assert again.peft == compose_run(["task=rte", *words]).peft
    old = make_record()
    older = dataclasses.replace(old, config={key: value for key, value in old.config.items() if key != "peft"})
    assert Setting.of(older) == Setting.of(old)


def test_a_number_published_for_a_method_is_compared_only_with_runs_by_it() -> None:
    table = next(table for table in load_published() if table.name == "roberta-base@bitfit")
    score = dataclasses.replace(table.scores["rte"], start="pretrained")
    setting = Setting.of(make_record(words=("peft=bitfit",)))
    assert not table.differs(score, init="pretrained", method=setting.method)
    assert table.differs(score, init="pretrained", method="lora") == ["published for bitfit, ours is lora"]
