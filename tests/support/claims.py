"""Checking the shipped card's claims against folders that a test makes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from glue_bench.claims import Card, ClaimRow, check_card
from glue_bench.claims.models import Model
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import EncoderConfig
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.support.making import DISTILROBERTA, make_record, scores_of
from tests.support.scored_runs import keep_predictions


def claim_of(card: Card, name: str) -> Any:
    return next(claim for claim in card.claims if claim.id == name)


def check(card: Card, *, repeats: int | None = None, **folders: Path) -> dict[str, ClaimRow]:
    """Return every row by its id, with these folders and nothing else to read."""
    trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
    models = {
        name: Model(
            model,
            EncoderConfig(path=str(folders[name]))
            if name in folders
            else compose_run(["task=rte", f"encoder={name}"]).encoder,
        )
        for name, model in card.models.items()
    }
    store = RunStore(Path("no_results"))
    report = check_card(card, models=models, store=store, settings=trainer, repeats=repeats)
    return {row.claim.id: row for row in report.rows}


def distil_records(values: dict[int, float], **changes: Any) -> list[Any]:
    return [
        make_record(seed=seed, scores=scores_of("rte", value), encoder=DISTILROBERTA, **changes)
        for seed, value in values.items()
    ]


def keep_scored(store: RunStore, records: Iterable[Record]) -> None:
    """Save runs on RTE, the finished ones with predictions of their accuracy."""
    for record in records:
        labels = np.arange(record.data["rows"]["validation"]) % 2
        right = np.arange(len(labels)) < round(record.scores["validation"]["accuracy"] * len(labels))
        predictions = np.where(right, labels, 1 - labels)
        if record.finished:
            keep_predictions(store, record, {"validation": (labels, predictions, np.eye(2)[predictions])})
        else:
            store.save(record)
