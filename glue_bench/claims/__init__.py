"""A model card's claims, as data from cards/, and their check as far as this machine and the models' files allow.

Loads torch only for the check.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glue_bench.config.schema import TrainerConfig
from glue_bench.report.columns import TextTable
from glue_bench.report.formats import render_csv, render_tables
from glue_bench.report.model import Row
from glue_bench.report.table import build_report, left_out_note
from glue_bench.runs.store import RunStore
from glue_bench.statistics.verdicts import ABOVE, BELOW, INCONCLUSIVE, REPRODUCED
from glue_bench.tasks.published import PublishedScore, PublishedTable, find_tables, load_published
from glue_bench.text import plural

if TYPE_CHECKING:
    from glue_bench.claims.models import Model

CARDS = Path(__file__).resolve().parent / "cards"
CLAIMS_SCHEMA_VERSION = 1
Progress = Callable[[str], None]  # called with a line about each step
_CSV = ("id", "title", "model", "claimed", "found", "verdict", "why", "basis", "check", "source")


class ClaimVerdict(StrEnum):
    """The result of checking a claim."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"  # measured, but not clearly enough
    NOT_CHECKABLE = "not checkable here"
    NOT_RUN = "not run"


_OF_REPORT = dict.fromkeys((BELOW, ABOVE), ClaimVerdict.CONTRADICTED)  # by the report's verdict on a score
_OF_REPORT |= {REPRODUCED: ClaimVerdict.CONFIRMED, INCONCLUSIVE: ClaimVerdict.UNDECIDED}


class LikelyToken(NamedTuple):
    """One token of a fill-mask example."""

    id: int
    token: str  # with its leading space
    score: float  # probability, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of a model card, and how it is checked; after `check` come the fields of single kinds."""

    kind: str  # architecture, parameters, case, speed, fill_mask or glue
    id: str
    title: str  # its subject, in a few words
    says: str  # the card's words, shortened
    model: str  # one of the card's models
    source: str
    check: str  # how it is checked, in words
    value: float = 0  # architecture, parameters, speed: the number claimed
    texts: Sequence[str] = ()  # case: two that differ only in case, and have different token ids
    against: str = ""  # speed: the slower of the card's models
    phase: str = ""  # speed: training or inference
    at_least: float = 0.0  # speed: the lowest ratio that rounds to `value`
    below: float = 0.0  # speed: the lowest ratio that is too high
    prompt: str = ""  # fill_mask
    tokens: Sequence[LikelyToken] = ()  # fill_mask: the likeliest, best first
    tolerance: float = 0.0  # fill_mask: of a probability, relative
    table: str = ""  # glue: a name among the published tables
    tasks: Mapping[str, str] = field(default_factory=dict)  # glue: task to its name on the card, in the card's order
    field: str = ""  # architecture: the number's name in config.json


@dataclass(frozen=True, slots=True, kw_only=True)
class CardModel:
    """A model that a card describes."""

    encoder: str  # its name under conf/encoder/
    title: str
    architecture: Mapping[str, Any]  # of a transformers RobertaConfig, as stated
    architecture_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card's models and claims."""

    title: str
    models: Mapping[str, CardModel]
    claims: Sequence[Claim]
    rules: Sequence[str]  # what the verdicts on these claims mean


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """One claim and its verdict."""

    claim: Claim
    verdict: ClaimVerdict
    found: str = ""  # empty if nothing was found
    why: str = ""  # the reason for the verdict, or why there is none
    basis: str = "nothing"  # where `found` comes from
    details: Mapping[str, Any] = field(default_factory=dict)  # numbers behind `found`, as JSON

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON."""
        claim, own = self.claim, {"found": self.found, "verdict": self.verdict, "why": self.why, "basis": self.basis}
        about = {"id": claim.id, "title": claim.title, "model": claim.model, "claimed": claim.says}
        return {**about, **own, "check": claim.check, "source": claim.source, "details": dict(self.details)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsReport:
    """What every output format is made from."""

    title: str
    rows: Sequence[ClaimRow]
    notes: Sequence[str]  # the verdicts' rules, and what was checked
    machine: Mapping[str, Any]  # empty if no speed was measured

    @property
    def counts(self) -> dict[str, int]:
        """The number of claims with each verdict."""
        counts = Counter(row.verdict for row in self.rows)
        return {str(verdict): counts[verdict] for verdict in ClaimVerdict}


def load_card(name: str) -> Card:
    """Load the models and claims of cards/NAME.json, which ship with glue-bench."""
    content, claims = json.loads((CARDS / f"{name}.json").read_text("utf-8")), list[Claim]()
    for facts in content["claims"]:
        tokens = [LikelyToken(**token) for token in facts.get("tokens", ())]
        claims.append(Claim(**{"says": list_tokens(tokens), **facts, "tokens": tokens}))
    models = {name: CardModel(**facts) for name, facts in content["models"].items()}
    return Card(title=content["title"], models=models, claims=claims, rules=list(content["rules"].values()))


def list_tokens(tokens: Sequence[LikelyToken]) -> str:
    """List tokens with their probabilities."""
    return ", ".join(f"{token.token.strip()} {token.score:.4f}" for token in tokens)


def check_card(
    card: Card,
    *,
    models: "Mapping[str, Model]",
    store: RunStore,
    settings: TrainerConfig,
    repeats: int | None,
    on_progress: Progress = lambda _: None,
) -> ClaimsReport:
    """Check what can be checked here; a UsageError if the device or engine of `settings` is not available.

    `models` are all those of the card; `settings` and `repeats`, the number of pairs, are for measuring
    speed, None to measure none; `on_progress` is called with a line about the current step.
    """
    from glue_bench.claims.models import check_model
    from glue_bench.claims.speed import measure_speed

    rows, machine, published = list[ClaimRow](), dict[str, Any](), load_published(store.root.parent / "published")
    for claim in card.claims:
        if claim.kind == "glue":
            rows += check_scores(claim, store=store, published=published)
        elif claim.kind != "speed":
            rows.append(check_model(claim, models[claim.model]))
        elif repeats is None:
            rows.append(ClaimRow(claim=claim, verdict=ClaimVerdict.NOT_RUN, why="left out by --quick"))
        else:
            row, used = measure_speed(claim, models, settings=settings, repeats=repeats, on_progress=on_progress)
            rows.append(row)
            machine = machine or used
    notes = [*left_out_note(store.left_out), *card.rules, *(model.describe() for model in models.values())]
    if machine:
        counts = plural(machine["cores"], "core"), plural(machine["threads"], "thread")
        where = "{device} ({name}), {}, {}, {precision}, torch {torch}".format(*counts, **machine)
        notes.append(f"Measured on {where}, load average {machine['load_before']:.2f} before the measurement.")
    return ClaimsReport(title=card.title, rows=rows, notes=notes, machine=machine)


def check_scores(claim: Claim, *, store: RunStore, published: Sequence[PublishedTable]) -> list[ClaimRow]:
    """Return a row for each score of the claim's table, with the report's verdict.

    Of several settings of a task, the one with a difference to the card and the most finished seeds counts.
    """
    table = next(table for table in published if table.name == claim.table)
    records = [record for record in store.load_all() if find_tables([table], record.encoder.get("hub_id"))]
    rows = [row for part in build_report(records, [table], store=store).sections for row in part.rows]
    judged = list[ClaimRow]()
    for task, name in claim.tasks.items():
        one = replace(claim, id=f"{claim.id}.{task}", title=f"GLUE {name}")
        judged.append(_check_score(one, table.scores.get(task), rows=[row for row in rows if row.task == task]))
    return judged


def _check_score(claim: Claim, score: PublishedScore | None, *, rows: Sequence[Row]) -> ClaimRow:
    if score is None:
        why = f"the published table {claim.table} has no number for this task"
        return ClaimRow(claim=claim, verdict=ClaimVerdict.NOT_CHECKABLE, why=why)
    claim = replace(claim, says=f"{score.value} ({score.metric})", source=score.source)
    row = max(rows, key=lambda row: (row.difference is not None, not row.optimistic, len(row.seeds)), default=None)
    if row is None or row.summary is None:
        ended = ", ".join(f"{count} {status}" for status, count in row.unfinished.items()) if row else ""
        return ClaimRow(claim=claim, verdict=ClaimVerdict.NOT_RUN, why=ended or "no such run under results_dir")
    verdict, why = ClaimVerdict.NOT_CHECKABLE, row.note
    if row.verdict and row.verdict.kind in _OF_REPORT:
        verdict = _OF_REPORT[row.verdict.kind]
        why = f"{row.verdict.kind}: {row.verdict.reason or plural(len(row.seeds), 'seed')}"
    why += f"; {plural(len(rows) - 1, 'other setting')} in the report" if len(rows) > 1 else ""
    scores = {key: getattr(row.summary, key) for key in ("median", "minimum", "maximum")}
    details = {"published": score.value, **scores, "seeds": row.seeds, "setting_id": row.setting.id}
    found = "{median:.1f} [{minimum:.1f}, {maximum:.1f}]".format(**scores)
    return ClaimRow(claim=claim, verdict=verdict, found=found, why=why, basis="records", details=details)


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
    for row in rows:
        shows_basis = row["found"] and row["basis"] not in row["why"]
        row["note"] = "; ".join(filter(None, [row["why"], row["basis"] if shows_basis else ""]))
    table = TextTable(
        title=f"Claims of {report.title}: {summary}",
        headers=["claim", "the card says", "found", "verdict", "note"],
        rows=[[row[key] for key in ("title", "claimed", "found", "verdict", "note")] for row in rows],
    )
    return render_tables([table], report.notes, format_name=format_name, width=width, color=color)
