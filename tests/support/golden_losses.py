"""Short seeded trainings through the command line, and their recorded losses.

python -m tests.support.golden_losses        rewrites tests/golden/losses.json: only if scores are meant to change
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from glue_bench.cli import main as glue_bench

DATA = Path(__file__).parents[1] / "golden"
FILE = Path(__file__).parents[1] / "golden" / "losses.json"
RECORDED: dict[str, Any] = json.loads(FILE.read_text())
UPDATES = 20
ENCODERS = {"roberta": "tiny_encoder", "bert": "tiny_bert", "distilbert": "tiny_distilbert", "electra": "tiny_electra"}
_COMMON = [
    "encoder=custom",
    "data=local",
    f"data.path={DATA / 'tiny_rows'}",
    "seed=3",
    f"trainer.updates={UPDATES}",
    "trainer.batch_size=8",
    "trainer.learning_rate=5e-4",
    "trainer.max_length=64",
    "trainer.log_every=1",
    "trainer.device=cpu",
    "trainer.precision=float32",
    "trainer.products=torch",
    "save_model=true",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training."""

    name: str
    family: str  # key of ENCODERS
    words: tuple[str, ...]


def _cases() -> list[Case]:
    engines = [("roberta", "flat"), ("roberta", "padded"), ("bert", "flat"), ("bert", "padded")]
    engines += [("distilbert", "padded"), ("electra", "padded")]
    found = [
        Case(name=f"{family}-{engine}-{task}", family=family, words=(f"task={task}", f"trainer.engine={engine}"))
        for family, engine in engines
        for task in ("rte", "stsb")
    ]
    roberta = {
        "three classes, one text fewer a batch": ("task=mnli", "trainer.batch_size=7"),
        "one text": ("task=sst2",),
        "a batch in three parts": ("task=rte", "trainer.accumulation=3"),
        "truncated rows": ("task=rte", "trainer.max_length=16"),
        "no clipping, another optimiser": (
            "task=rte",
            "trainer.clip_norm=0",
            "trainer.betas=[0.8,0.99]",
            "trainer.epsilon=1e-3",
            "trainer.weight_decay=0.3",
            "trainer.warmup=0.5",
        ),
        "the best epoch": ("task=sst2", "selection=best"),
        "the best epoch on held-out rows": ("task=sst2", "selection=holdout", "holdout=0.25"),
    }
    return found + [Case(name=name, family="roberta", words=words) for name, words in roberta.items()]


CASES = {case.name: case for case in _cases()}


def fingerprint() -> dict[str, str]:
    """Return what must be equal for equal bits: the build of torch, and the processor that it runs on."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "torch": torch.__version__,
        "capability": str(torch.backends.cpu.get_cpu_capability()),
        "processor": models[0] if models else "",
    }


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Train one case in `folder` on one thread, and read back its results."""
    path = DATA / ENCODERS[case.family]
    own = [f"encoder.path={path}", f"encoder.name={case.family}", f"results_dir={folder}"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        keys = {word.partition("=")[0] for word in case.words}
        common = [word for word in _COMMON if word.partition("=")[0] not in keys]
        assert glue_bench(["run", *common, *own, *case.words]) == 0
    finally:
        torch.set_num_threads(threads)
    (record_file,) = folder.rglob("record.json")
    run, record = record_file.parent, json.loads(record_file.read_text())
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, UPDATES + 1))
    return {
        "losses": [float(line["loss"]).hex() for line in lines],
        "gradient_norms": [float(line["gradient_norm"]).hex() for line in lines],
        "learning_rates": [float(line["learning_rate"]).hex() for line in lines],
        "weights_sha256": _hash_weights(run / "model" / "model.safetensors"),
        "logits_sha256": _hash_logits(run / "predictions"),
        "scores": record["scores"],
        "tokens": record["tokens"],
        "engine": record["engine"],
    }


def _hash_weights(path: Path) -> str:
    """Hash names, shapes and bytes of all tensors, whatever their order in the file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _hash_logits(folder: Path) -> str:
    """Hash the logits of every split, as float32."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        for name in sorted(name for name in table.column_names if name.startswith("logit_")):
            digest.update(f"{path.stem} {name}\n".encode())
            digest.update(table[name].to_numpy().astype("float32").tobytes())
    return digest.hexdigest()


def main() -> None:
    """Record all cases on this machine."""
    cases = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = measure(case, Path(folder))
    FILE.write_text(json.dumps({"machine": fingerprint(), "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
