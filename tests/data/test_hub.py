"""The hub path with the real clients, against a server on loopback that speaks the hub's protocol."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from glue_bench.config.compose import compose_sweep
from glue_bench.config.schema import EncoderConfig
from glue_bench.data.encoding import load_tokenizer
from glue_bench.data.hub import fetch_file
from glue_bench.doctor import NOTE, PROBLEM
from glue_bench.doctor.sweep import examine_sweep
from glue_bench.errors import DiskError, InputError
from glue_bench.models.pretrained import resolve_pretrained, tokenizer_files, weight_files
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.conftest import Result
from tests.support.hub_server import HubServer, point_client_at
from tests.support.tiny import pair_columns, write_parquet

DATA_COMMIT = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
MODEL_COMMIT = "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b"
OTHER_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclasses.dataclass
class Hub:
    """A running server, and the command line pointed at it, or offline in a Python of its own."""

    server: HubServer
    root: Path
    results: Path
    call: Callable[..., Result]
    call_offline: Callable[..., Result]

    def run(self, *words: str, offline: bool = False) -> Result:
        """Run `glue-bench run task=rte encoder=distilroberta data=hub ...` against this server."""
        task = () if any(word.startswith("task=") for word in words) else ("task=rte",)
        shortened = (*task, "trainer.epochs=1", "trainer.device=cpu", f"results_dir={self.results}")
        return (self.call_offline if offline else self.call)("run", *shortened, *words)

    def records(self) -> list[Record]:
        """Return the records of the runs."""
        return list(RunStore(self.results).load_all())


@pytest.fixture
def hub(
    tiny_roberta: Path,
    tmp_path: Path,
    hub_port: int,
    hub_bench: Callable[..., Result],
    glue_bench: Callable[..., Result],
) -> Iterator[Hub]:
    """Serve small versions of nyu-mll/glue and distilbert/distilroberta-base at the pinned commits."""
    root = tmp_path / "hub"
    for split, seed in (("train", 1), ("validation", 2)):
        write_parquet(root / "glue" / "rte" / f"{split}-00000-of-00001.parquet", pair_columns(24, seed=seed))
    shutil.copytree(tiny_roberta, root / "model")
    with HubServer(root, port=hub_port) as server:
        server.add_repo("dataset", "nyu-mll/glue", DATA_COMMIT, Path("glue"))
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("model"))
        yield Hub(server, root, tmp_path / "results", hub_bench, glue_bench)


def test_a_run_downloads_trains_and_records_the_revisions_and_runs_again_from_the_cache(hub: Hub) -> None:
    result = hub.run()
    assert result.returncode == 0, result.stderr
    (record,) = hub.records()
    assert (record.encoder["hub_id"], record.encoder["revision"]) == ("distilbert/distilroberta-base", MODEL_COMMIT)
    assert (record.data["dataset"], record.data["revision"]) == ("nyu-mll/glue", DATA_COMMIT)
    assert record.not_comparable_because[0] == "train has 24 rows, official 2,490"
    asked = len(hub.server.requests)
    assert hub.run().returncode == 0  # already done
    assert len(hub.server.requests) == asked
    hub.server.stop()
    again = hub.run("seed=2")
    assert again.returncode == 0, again.stderr
    offline = hub.run("seed=3", offline=True)
    assert offline.returncode == 0, offline.stderr
    assert sorted(record.seed for record in hub.records()) == [1, 2, 3]


def test_a_branch_is_resolved_to_its_commit_which_names_the_run(hub: Hub) -> None:
    words = ("encoder=custom", "encoder.hub_id=distilbert/distilroberta-base", "data.revision=main")
    result = hub.run(*words)
    assert result.returncode == 0, result.stderr
    (record,) = hub.records()
    assert (record.encoder["revision"], record.data["revision"]) == (MODEL_COMMIT, DATA_COMMIT)
    assert record.encoder["name"] == "distilbert-distilroberta-base"
    config = json.loads((hub.root / "model" / "config.json").read_text())
    (hub.root / "model" / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 0.0}))
    hub.server.add_repo("model", "distilbert/distilroberta-base", OTHER_COMMIT, Path("model"))
    assert hub.run(*words).returncode == 0
    assert sorted(record.encoder["revision"] for record in hub.records()) == sorted([MODEL_COMMIT, OTHER_COMMIT])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.revision=" + "1" * 40], "dataset nyu-mll/glue: no revision 1111"),
        (["encoder.revision=nosuchbranch"], "model distilbert/distilroberta-base: no revision nosuchbranch"),
        (["task=mrpc"], "dataset nyu-mll/glue: no file mrpc/train-00000-of-00001.parquet at revision bcdcba79"),
        (["data.dataset=nyu-mll/glu"], "dataset nyu-mll/glu: not on http://127.0.0.1:"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(hub: Hub, words: list[str], message: str) -> None:
    result = hub.run(*words)
    assert result.returncode == 3
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_hub_that_is_down_ends_the_command_at_once_with_three_lines(hub: Hub) -> None:
    hub.server.stop()
    result = hub.run()
    assert result.returncode == 3
    first, second, third = result.stderr.splitlines()
    assert f"cannot get config.json at revision {MODEL_COMMIT} from http://127.0.0.1:" in first
    assert "encoder=./FOLDER" in second
    assert "preset=sample" in third


def test_a_model_without_safetensors_is_refused(hub: Hub) -> None:
    (hub.root / "model" / "model.safetensors").rename(hub.root / "model" / "pytorch_model.bin")
    result = hub.run()
    assert result.returncode == 3
    assert "no file model.safetensors at revision" in result.stderr


def test_damaged_rows_from_the_hub_are_named(hub: Hub) -> None:
    path = hub.root / "glue" / "rte" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    result = hub.run()
    assert result.returncode == 3
    assert "train-00000-of-00001.parquet: not a readable Parquet file" in result.stderr


def test_a_folder_named_like_the_data_set_is_not_taken_for_it(hub: Hub, tmp_path: Path) -> None:
    write_parquet(tmp_path / "nyu-mll" / "glue" / "rte" / "train-00000-of-00001.parquet", pair_columns(5, seed=8))
    assert hub.run().returncode == 0
    (record,) = hub.records()
    assert record.data["rows"] == {"train": 24, "validation": 24}


def without_weights(folder: Path, name: str, *, config: bool = True) -> None:
    (folder / "model.safetensors").rename(folder / name)
    if not config:
        (folder / "config.json").unlink()


def with_vocabulary(folder: Path) -> None:
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)) + "\n")


def with_versions(folder: Path) -> None:
    (folder / "tokenizer.4.0.0.json").write_bytes((folder / "tokenizer.json").read_bytes())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["fast_tokenizer_files"] = ["tokenizer.4.0.0.json"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture
def repository(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve an encoder as org/bert, to this process."""
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "hub" / "bert"))
    with HubServer(tmp_path / "hub") as server:
        server.add_repo("model", "org/bert", MODEL_COMMIT, Path("bert"))
        point_client_at(server, monkeypatch, cache=tmp_path / "cache")
        yield folder


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        (
            "model.safetensors.index.json",
            True,
            "model.safetensors.index.json: names no safetensors files",
        ),
        ("adapter_config.json", True, "of an adapter such as LoRA, save what peft's merge_and_unload returns"),
        ("adapter_config.json", False, "no file config.json .*of an adapter such as LoRA, save what peft's"),
        ("pytorch_model.bin", True, "for a pytorch_model.bin, encoder.allow_bin=true"),
        ("flax_model.msgpack", True, "only a model that transformers' save_pretrained wrote to safetensors is loaded"),
    ],
)
def test_a_repository_without_usable_weights_is_refused_with_the_reason(
    name: str, config: bool, reason: str, repository: Path
) -> None:
    without_weights(repository, name, config=config)
    with pytest.raises(InputError, match=reason) as caught:
        resolve_pretrained(EncoderConfig(hub_id="org/bert", revision="main"))
    assert "\n" not in str(caught.value)


def test_weights_in_several_files_and_of_torchs_kind_are_fetched(repository: Path) -> None:
    weights = load_file(repository / "model.safetensors")
    (repository / "model.safetensors").unlink()
    torch.save(weights, repository / "pytorch_model.bin")
    encoder = EncoderConfig(hub_id="org/bert", revision="main", allow_bin=True)
    assert [path.name for path in weight_files(resolve_pretrained(encoder).folder)] == ["pytorch_model.bin"]
    with pytest.raises(InputError, match=r"save_pretrained wrote to safetensors is loaded; .*encoder.allow_bin=true"):
        resolve_pretrained(dataclasses.replace(encoder, allow_bin=False))
    names = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for part in set(names.values()):
        save_file({name: weights[name] for name in weights if names[name] == part}, repository / part)
    (repository / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    shutil.rmtree(constants.HF_HUB_CACHE)
    folder = resolve_pretrained(dataclasses.replace(encoder, allow_bin=False)).folder
    expected = ["model.safetensors.index.json", "model-0.safetensors", "model-1.safetensors"]
    assert [path.name for path in weight_files(folder)] == expected


@pytest.mark.parametrize("change", [with_vocabulary, with_versions])
def test_every_file_of_a_tokenizer_is_fetched(change: Callable[[Path], None], repository: Path) -> None:
    change(repository)
    folder = resolve_pretrained(EncoderConfig(hub_id="org/bert", revision="main")).folder
    assert folder != repository
    wanted = load_tokenizer(repository)("the cat sees the dog")["input_ids"]
    assert load_tokenizer(folder)("the cat sees the dog")["input_ids"] == wanted
    assert {path.name for path in tokenizer_files(folder)} == {path.name for path in tokenizer_files(repository)}


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_what_forbids_requests_is_named(name: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(name, "yes")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        resolve_pretrained(EncoderConfig(hub_id="org/bert", revision="main"))
    first, second, third = str(caught.value).splitlines()
    assert f"({name} is set)" in first
    assert second.startswith(f"{name}=yes forbids requests: repeat the command once without it, fill the cache by ")
    assert "`hf download org/bert --repo-type model --revision main`, or use data=local" in second
    assert "preset=sample" in third
    assert repository.is_dir()


def test_a_cache_that_cannot_be_written_is_named_before_anything_is_downloaded(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(DiskError, match="cannot write to the hub's cache: ") as caught:
        resolve_pretrained(EncoderConfig(hub_id="org/bert", revision="main"))
    assert str(tmp_path / "file") in str(caught.value)
    assert repository.is_dir()


@pytest.mark.parametrize(("encoder", "state"), [("encoder.hub_id=org/bert", PROBLEM), ("encoder.path=hub/bert", NOTE)])
def test_doctor_sees_a_cache_of_the_hub_that_cannot_be_written(
    encoder: str, state: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    words = ["tasks=[rte]", "seeds=[1]", "encoder=custom", encoder, "encoder.revision=main", "data=sample"]
    sweep = compose_sweep([*words, "executor=slurm"])  # with which torch is not asked
    (found,) = [finding for finding in examine_sweep(sweep, []) if finding.name == "hub's cache"]
    assert (found.state, found.advice) == (state, "HF_HOME=FOLDER that you may write")
    assert repository.is_dir()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *(
            ("X-Repo-Commit", value)
            for value in ("../../../outside", "/outside", "main", "", "A" * 40, f"{'0' * 40}/x")
        ),
        *(("ETag", value) for value in ('"../../outside"', "..", "/outside", 'W/"a/b"', '""', "a\x1b[31m", "x" * 300)),
        ("X-Linked-Etag", '"../../../../outside"'),
        ("X-Xet-Hash", "../" * 8 + "outside"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "absent.json"])
def test_headers_that_would_lead_out_of_the_cache_are_refused_before_anything_is_written(
    header: str, value: str, name: str, tiny_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer(tiny_roberta) as server:
        point_client_at(server, monkeypatch, cache=tmp_path / "a/b/c/cache")
        server.add_repo("model", "me/mine", MODEL_COMMIT, Path())
        server.lies = {header: value.replace("/outside", f"{tmp_path}/outside") if value[:1] == "/" else value}
        with pytest.raises(InputError, match=f"(?s)model me/mine: {server.endpoint} answers with {header} .{{1,300}}$"):
            fetch_file("me/mine", name, revision="main", repo_type="model", optional=True)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        server.lies = {}
        assert fetch_file("me/mine", "config.json", revision="main", repo_type="model")
