"""The ids of many requests, as `glue-bench sweep --plan` writes them. Needs no network and trains nothing.

python -m tests.support.golden_ids        rewrites tests/golden/run_ids.json: only if ids are meant to change
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from glue_bench.cli import main as glue_bench

DATA = Path(__file__).parents[1] / "golden"
FILE = Path(__file__).parents[1] / "golden" / "run_ids.json"
EIGHT = "tasks=[mnli,qqp,qnli,sst2,cola,stsb,mrpc,rte]"
_SAMPLE = ("data=sample", "encoder=minilm")
_ONE = (*_SAMPLE, "task=rte", "seed=1")
_LOCAL = ("encoder=custom", f"encoder.path={DATA / 'tiny_encoder'}", "data=local", f"data.path={DATA / 'tiny_rows'}")
_COMMIT = "0123456789abcdef0123456789abcdef01234567"

# Words that change how a run executes but not what it computes: the ids are those of BASE.
EXECUTION_ONLY = (
    "trainer.device=cpu trainer.deterministic=true trainer.eval_batch_size=7 trainer.log_every=1 "
    "trainer.snapshot_minutes=0 save_model=true results_dir=elsewhere",
    "executor=serial executor.workers=1 executor.runs_per_gpu=2 executor.timeout=1",
)
# Words that change the run; each line gives a different id.
OTHER_RUNS = (
    "trainer.epochs=4 trainer.learning_rate=4e-5 trainer.warmup=0.1 trainer.weight_decay=0.01 trainer.clip_norm=0",
    "trainer.updates=25 trainer.betas=[0.9,0.999] trainer.epsilon=1e-8 trainer.max_length=128",
    "trainer.batch_size=8 trainer.accumulation=2 trainer.precision=bfloat16 trainer.engine=padded",
    "data.max_train_rows=100",
    "selection=best",
    "selection=holdout holdout=0.2",
    "trainer.products=torch",
)
_SWEEPS = {
    "sample, its eight tasks": (*_SAMPLE, EIGHT, "seeds=[1,2]"),
    "sample, roberta_paper, whole grid": (*_SAMPLE, "tasks=[mnli]", "seeds=[1]", "recipe=roberta_paper"),
    "sample, roberta_paper, narrowed": (
        *_SAMPLE,
        "task=rte",
        "seed=1",
        "recipe=roberta_paper",
        "trainer.learning_rate=2e-5",
    ),
    "sample, a grid of one's own": (
        *_SAMPLE,
        "task=sst2",
        "seed=4",
        "grid.learning_rate=[1e-5,3e-5]",
        "grid.epochs=[1,2]",
    ),
    "sample, from mnli": (*_SAMPLE, "tasks=[rte]", "seeds=[1,2]", "init=mnli"),
    "preset sample": ("preset=sample", "tasks=[rte]"),
    "preset smoke": ("preset=smoke",),
    "preset card, on the hub": (
        "preset=card",
        "encoders=[distilroberta,roberta]",
        "tasks=[sst2,qnli,mrpc]",
        "seeds=[1]",
    ),
    "the hub, wnli": ("encoder=distilroberta", "tasks=[wnli]", "seeds=[1]"),
    "the hub, hf_2019": ("encoder=distilroberta", "tasks=[mrpc,wnli]", "seeds=[1]", "recipe=hf_2019"),
    "the hub, fairseq": ("encoder=roberta", "tasks=[cola,wnli]", "seeds=[1]", "recipe=fairseq"),
    "the hub, roberta_paper": ("encoder=roberta", "tasks=[cola]", "seeds=[1]", "recipe=roberta_paper"),
    "the hub, fairseq from mnli": (
        "encoder=roberta",
        "tasks=[rte]",
        "seeds=[1]",
        "recipe=fairseq",
        "init=mnli",
    ),
    "the hub, custom encoder and data at commits": (
        "encoder=custom",
        "encoder.hub_id=google-bert/bert-base-uncased",
        f"encoder.revision={_COMMIT}",
        f"data.revision={_COMMIT[::-1]}",
        "tasks=[rte,stsb]",
        "seeds=[7]",
    ),
    "folders": (*_LOCAL, "tasks=[rte,mrpc,sst2,stsb,mnli]", "seeds=[1,2]"),
    "folders, a name for the encoder": (*_LOCAL, "encoder.name=tiny", "task=rte", "seed=1"),
    "folders, fewer rows": (*_LOCAL, "task=rte", "seed=1", "data.max_train_rows=8", "data.max_eval_rows=4"),
    "folders, from mnli on held-out rows": (*_LOCAL, "task=rte", "seed=1", "init=mnli", "selection=holdout"),
}
BASE = "sample, one run"


def _changed(words: str) -> tuple[str, ...]:
    """Return the words of the one run with other values."""
    changes = words.split()
    keys = {word.partition("=")[0] for word in changes}
    return (*(word for word in _ONE if word.partition("=")[0] not in keys), *changes)


CASES: dict[str, tuple[str, ...]] = {
    **_SWEEPS,
    BASE: _ONE,
    **{f"{BASE}, {words}": _changed(words) for words in (*EXECUTION_ONLY, *OTHER_RUNS)},
}


def plan_of(words: tuple[str, ...], folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a sweep's plan, made without a network."""
    path = folder / "plan.jsonl"
    path.unlink(missing_ok=True)
    assert glue_bench(["sweep", "--plan", str(path), *words]) == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids_of(words: tuple[str, ...], folder: Path) -> list[str]:
    """Return each line's title, run id and setting id, and the run id that it starts from."""
    lines = plan_of(words, folder)
    parents = [f" after {line['parent']['run_id']}" if line["parent"] else "" for line in lines]
    return [
        f"{line['title']}: {line['run_id']} of {line['setting_id']}{parent}"
        for line, parent in zip(lines, parents, strict=True)
    ]


def main() -> None:
    """Record the ids."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = {name: ids_of(words, Path(folder)) for name, words in CASES.items()}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
