"""Check every claim of a model card as far as this machine and the model's files allow.

Loads torch only once the first model is opened.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from glue_bench.claims.card import Card, Claim, ClaimRow, ModelFiles, Verdict
from glue_bench.config.schema import TrainerConfig
from glue_bench.report.columns import TextTable
from glue_bench.report.formats import render_csv, render_tables
from glue_bench.report.model import Row
from glue_bench.report.table import build_report, left_out_note
from glue_bench.runs.store import RunStore
from glue_bench.statistics.verdicts import ABOVE, BELOW, INCONCLUSIVE, REPRODUCED
from glue_bench.tasks.published import PublishedScore, PublishedTable
from glue_bench.text import plural

if TYPE_CHECKING:
    from glue_bench.claims.models import Model

CLAIMS_SCHEMA_VERSION = 1
_CSV = ("id", "title", "model", "claimed", "found", "verdict", "why", "basis", "check", "source")
_HEADERS = ("claim", "the card says", "found", "verdict", "note")
_VERDICT_OF = {REPRODUCED: Verdict.CONFIRMED, INCONCLUSIVE: Verdict.UNDECIDED}
_VERDICT_OF |= dict.fromkeys((BELOW, ABOVE), Verdict.CONTRADICTED)
_VERDICTS = (
    "Verdicts: confirmed; contradicted (what was found is shown); undecided (measured, but not clearly enough); not "
    "checkable here (the note says why); not run (not asked for, or no run has finished)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsReport:
    """What every output format is made from."""

    title: str
    rows: Sequence[ClaimRow]
    notes: Sequence[str]  # the verdicts' rules, and what was checked
    machine: Mapping[str, Any]  # empty if no speed was measured

    @property
    def contradicted(self) -> bool:
        """Whether any claim is contradicted."""
        return any(row.verdict == Verdict.CONTRADICTED for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """The number of claims with each verdict."""
        counts = Counter(row.verdict for row in self.rows)
        return {str(verdict): counts[verdict] for verdict in Verdict}


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
    """Check what can be checked here; a UsageError if the device or engine of `settings` is not available.

    Args:
        files: of every model of the card.
        store: the runs whose scores are compared with the card's.
        settings: device, precision, engine and optimiser of the measured training.
        repeats: pairs of a measurement; None to measure no speed.
        on_progress: called with a line about the current step.
    """
    on_progress("reading the models' files")
    from glue_bench.claims.models import Model, check_model
    from glue_bench.claims.speed import measure_speed

    models = {name: Model(model, files[name]) for name, model in card.models.items()}
    rows, machine = list[ClaimRow](), dict[str, Any]()
    for claim in card.claims:
        if claim.kind == "glue":
            rows += check_scores(claim, store=store, published=published)
        elif claim.kind != "speed":
            rows.append(check_model(claim, models[claim.model]))
        elif repeats is None:
            rows.append(ClaimRow(claim=claim, verdict=Verdict.NOT_RUN, why="left out by --quick"))
        else:
            row, used = measure_speed(claim, models, settings=settings, repeats=repeats, on_progress=on_progress)
            rows.append(row)
            machine = machine or used
    notes = [*left_out_note(store.left_out), _VERDICTS, *card.rules, *(_describe(model) for model in models.values())]
    if machine:
        load = machine["load_before"]
        busy = "" if load is None else f", load average {load:.2f} before the measurement"
        cores, threads = plural(machine["cores"], "core"), plural(machine["threads"], "thread")
        where = f"{machine['device']} ({machine['name']}), {cores}, {threads}, {machine['precision']}"
        notes.append(f"Measured on {where}, torch {machine['torch']}{busy}.")
    return ClaimsReport(title=card.title, rows=rows, notes=notes, machine=machine)


def check_scores(claim: Claim, *, store: RunStore, published: Sequence[PublishedTable]) -> list[ClaimRow]:
    """Return a row for each score of the claim's table, with the report's verdict.

    Of several settings of a task, the one with a difference to the card and the most finished seeds counts.
    """
    table = next((table for table in published if table.name == claim.table), None)
    if table is None:
        return [ClaimRow(claim=claim, verdict=Verdict.NOT_CHECKABLE, why=f"no published table {claim.table}")]
    ids = [name.lower() for name in table.hub_ids]
    records = [record for record in store.load_all() if (record.encoder.get("hub_id") or "").lower() in ids]
    rows = [row for part in build_report(records, [table], store=store).sections for row in part.rows]
    ones = {task: replace(claim, id=f"{claim.id}.{task}", title=f"GLUE {name}") for task, name in claim.tasks.items()}
    by_task = {task: [row for row in rows if row.task == task] for task in ones}
    return [_check_score(one, table.scores.get(task), rows=by_task[task]) for task, one in ones.items()]


def _check_score(claim: Claim, score: PublishedScore | None, *, rows: Sequence[Row]) -> ClaimRow:
    if score is None:
        why = f"the published table {claim.table} has no number for this task"
        return ClaimRow(claim=claim, verdict=Verdict.NOT_CHECKABLE, why=why)
    one = replace(claim, says=f"{score.value} ({score.metric})", source=score.source)
    if not rows:
        return ClaimRow(claim=one, verdict=Verdict.NOT_RUN, why="no such run under results_dir")
    row = max(rows, key=lambda row: (row.difference is not None, not row.optimistic, len(row.seeds)))
    if row.summary is None:
        ended = ", ".join(f"{count} {status}" for status, count in row.unfinished.items())
        return ClaimRow(claim=one, verdict=Verdict.NOT_RUN, why=ended, basis="records")
    verdict, why = _VERDICT_OF.get(row.verdict.kind if row.verdict else "", Verdict.NOT_CHECKABLE), row.note
    if row.verdict and verdict != Verdict.NOT_CHECKABLE:
        why = f"{row.verdict.kind}: {row.verdict.reason or plural(len(row.seeds), 'seed')}"
    others = f"; {plural(len(rows) - 1, 'other setting')} in the report" if len(rows) > 1 else ""
    median, low, high = row.summary.median, row.summary.minimum, row.summary.maximum
    details: dict[str, Any] = {"published": score.value, "median": median, "minimum": low, "maximum": high}
    details |= {"seeds": list(row.seeds), "setting_id": row.setting.id}
    found = f"{median:.1f} [{low:.1f}, {high:.1f}]"
    return ClaimRow(claim=one, verdict=verdict, found=found, why=why + others, basis="records", details=details)


def _describe(model: "Model") -> str:
    files, stated = model.files, model.stated
    start = f"model {files.place.partition(' ')[0]}: "  # of a message from the hub
    parts = [f"{stated.title}: {files.place}", *(remark.removeprefix(start) for remark in files.remarks)]
    if model.unread:
        parts.append(f"the stated architecture is {stated.architecture_source}")
    if files.weights_sha256 is not None:
        same = "as" if stated.weights_sha256 == files.weights_sha256 else "not as"
        known = f", {same} in {stated.weights_sha256_source}" if stated.weights_sha256 else ""
        parts.append(f"SHA-256 of model.safetensors {files.weights_sha256}{known}")
    return "; ".join(parts) + "."


def render_claims(report: ClaimsReport, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """Render the whole table as text; arguments as in `render_report`. docs/claims.md describes the fields of json."""
    rows = [row.plain() for row in report.rows]
    if format_name == "json":
        content = {"schema_version": CLAIMS_SCHEMA_VERSION, "title": report.title, "verdicts": report.counts}
        content |= {"claims": rows, "notes": report.notes, "machine": report.machine}
        return json.dumps(content, indent=1) + "\n"
    if format_name == "csv":
        return render_csv(rows, like=_CSV)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items() if count) or "no claims"
    title = f"Claims of {report.title}: {summary}"
    for row in rows:
        shows_basis = row["found"] and row["basis"] not in row["why"]
        row["note"] = "; ".join(filter(None, [row["why"], row["basis"] if shows_basis else ""]))
    cells = [[row[key] for key in ("title", "claimed", "found", "verdict", "note")] for row in rows]
    table = TextTable(title=title, headers=_HEADERS, rows=cells)
    return render_tables([table], report.notes, format_name=format_name, width=width, color=color)
