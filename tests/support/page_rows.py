"""The page that tests read."""

from pathlib import Path

from glue_bench.runs.store import RunStore
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.making_results import write_run


def fill(results_dir: Path) -> None:
    """Write runs of two encoders on a pair task, a score task and a task of two splits (not comparable)."""
    rows = {"validation": 277, "validation_matched": 120, "validation_mismatched": 90}
    for encoder, skill in ((DISTILROBERTA, 1.0), (ROBERTA, 2.0)):
        name = encoder["name"]
        facts = {**encoder, "parameters": 82_000_000, "weights_sha256": "ab" * 32}
        for task in ("rte", "stsb", "mnli"):
            for seed in (1, 2, 3):
                write_run(
                    results_dir,
                    task=task,
                    seed=seed,
                    setting=f"{name[:2]}{task}",
                    encoder=facts,
                    rows=rows if task == "mnli" else None,
                    reasons=("a subset",) if task == "mnli" else (),
                    skill=skill,
                    device="cpu, 1 thread",
                    words=(f"encoder={name}",),
                )
    lost = make_record(
        task="rte",
        seed=4,
        setting="rorte",
        status="diverged",
        precision="",
        encoder=ROBERTA,
        error="diverged: nan\nmore",
    )
    RunStore(results_dir).save(lost)
