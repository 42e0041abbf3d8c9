"""Check every claim of a card. Loads torch only once the first model is opened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from glue_bench.claims.files import ModelFiles
from glue_bench.claims.statements import Card, ClaimRow, ClaimsReport, GlueClaim, SpeedClaim, Verdict
from glue_bench.config.schema import TrainerConfig
from glue_bench.report import Row, build_report
from glue_bench.runs.store import RunStore
from glue_bench.statistics.verdicts import ABOVE, BELOW, INCONCLUSIVE, REPRODUCED
from glue_bench.tasks.published import PublishedScore, PublishedTable
from glue_bench.text import plural

if TYPE_CHECKING:
    from glue_bench.claims.models import Model

_VERDICT_OF = {
    REPRODUCED: Verdict.CONFIRMED,
    BELOW: Verdict.CONTRADICTED,
    ABOVE: Verdict.CONTRADICTED,
    INCONCLUSIVE: Verdict.UNDECIDED,
}
_VERDICTS = (
    "Verdicts: confirmed; contradicted (what was found is shown); undecided (measured, but not clearly enough); not "
    "checkable here (the note says why); not run (not asked for, or no run has finished)."
)


def check_card(
    card: Card,
    *,
    files: Mapping[str, ModelFiles],
    store: RunStore,
    published: Sequence[PublishedTable],
    settings: TrainerConfig,
    repeats: int | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ClaimsReport:
    """Check what can be checked here.

    Args:
        files: of every model of the card.
        store: the runs whose scores are compared with the card's.
        settings: device, precision, engine and optimiser of the measured training.
        repeats: pairs of a measurement; None to measure no speed.
        on_progress: called with a line on what is done now.

    Raises:
        UsageError: the device or engine of `settings` is not available.
    """
    on_progress("reading the models' files")
    from glue_bench.claims.models import Model, check_model
    from glue_bench.claims.speed import measure_speed

    models = {name: Model(model, files[name]) for name, model in card.models.items()}
    rows, machine = list[ClaimRow](), dict[str, Any]()
    for claim in card.claims:
        if isinstance(claim, GlueClaim):
            rows += check_scores(claim, store=store, published=published)
        elif not isinstance(claim, SpeedClaim):
            rows.append(check_model(claim, models[claim.model]))
        elif repeats is None:
            rows.append(ClaimRow(claim=claim, verdict=Verdict.NOT_RUN, why="left out by --quick"))
        else:
            row, used = measure_speed(claim, models, settings=settings, repeats=repeats, on_progress=on_progress)
            rows.append(row)
            machine = machine or used
    notes = [_VERDICTS, *card.rules, *(_describe(model) for model in models.values())]
    notes += [_describe_machine(machine)] if machine else []
    return ClaimsReport(title=card.title, rows=rows, notes=notes, machine=machine)


def check_scores(claim: GlueClaim, *, store: RunStore, published: Sequence[PublishedTable]) -> list[ClaimRow]:
    """A row for each score of the claim's table, with the report's verdict.

    Of several settings of a task the comparable one with the most finished seeds counts.
    """
    table = next((table for table in published if table.name == claim.table), None)
    if table is None:
        return [ClaimRow(claim=claim, verdict=Verdict.NOT_CHECKABLE, why=f"no published table {claim.table}")]
    ids = [name.lower() for name in table.hub_ids]
    records = [record for record in store.load_all() if (record.encoder.get("hub_id") or "").lower() in ids]
    rows = [row for part in build_report(records, list(published), store=store).sections for row in part.rows]
    return [
        _check_score(claim, table.scores[task], rows=[row for row in rows if row.task == task]) for task in claim.tasks
    ]


def _check_score(claim: GlueClaim, score: PublishedScore, *, rows: Sequence[Row]) -> ClaimRow:
    one = replace(
        claim,
        id=f"{claim.id}.{score.task}",
        title=f"GLUE {claim.tasks[score.task]}",
        says=f"{score.value} ({score.metric})",
        source=score.source,
    )
    if not rows:
        return ClaimRow(claim=one, verdict=Verdict.NOT_RUN, why="no run of it under results_dir")
    row = max(rows, key=lambda row: (row.comparable, not row.optimistic, len(row.seeds)))
    if row.summary is None:
        ended = ", ".join(f"{count} {status}" for status, count in row.unfinished.items())
        return ClaimRow(claim=one, verdict=Verdict.NOT_RUN, why=ended, basis="records")
    verdict, why = _VERDICT_OF.get(row.verdict.kind if row.verdict else "", Verdict.NOT_CHECKABLE), row.note
    if row.verdict and verdict != Verdict.NOT_CHECKABLE:
        why = f"{row.verdict.kind}: {row.verdict.reason or plural(len(row.seeds), 'seed')}"
    others = f"; {plural(len(rows) - 1, 'other setting')} in the report" if len(rows) > 1 else ""
    summary = row.summary
    numbers = {"median": summary.median, "minimum": summary.minimum, "maximum": summary.maximum}
    return ClaimRow(
        claim=one,
        verdict=verdict,
        found=f"{summary.median:.1f} [{summary.minimum:.1f}, {summary.maximum:.1f}]",
        why=why + others,
        basis="records",
        details={"published": score.value, **numbers, "seeds": list(row.seeds), "setting_id": row.setting.id},
    )


def _describe(model: "Model") -> str:
    """Where a model's files come from, and why some are missing."""
    files, stated = model.files, model.stated
    repository = files.place.partition(" ")[0]
    parts = [f"{stated.title}: {files.place}"]
    parts += [remark.removeprefix(f"model {repository}: ") for remark in files.remarks]
    if model.unread:
        parts.append(f"the stated architecture is {stated.architecture_source}")
    if files.weights_sha256 is not None:
        same = "as" if stated.weights_sha256 == files.weights_sha256 else "not as"
        known = f", {same} in {stated.weights_sha256_source}" if stated.weights_sha256 else ""
        parts.append(f"SHA-256 of model.safetensors {files.weights_sha256}{known}")
    return "; ".join(parts) + "."


def _describe_machine(machine: Mapping[str, Any]) -> str:
    load = machine["load_before"]
    busy = "" if load is None else f", load average {load:.2f} before the measurement"
    return (
        f"Measured on {machine['device']} ({machine['name']}), {plural(machine['cores'], 'core')}, "
        f"{plural(machine['threads'], 'thread')}, {machine['precision']}, torch {machine['torch']}{busy}."
    )
