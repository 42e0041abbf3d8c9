"""Finished runs and published numbers to the rows of the GLUE claims: the verdicts are the report's."""

import dataclasses
from collections.abc import Iterable, Sequence

from glue_bench.claims.rows import CONFIRMED, CONTRADICTED, NOT_CHECKABLE, NOT_RUN, UNDECIDED, ClaimRow, make_row
from glue_bench.claims.statements import GlueClaim
from glue_bench.report import Row, build_report
from glue_bench.runs.record import Record
from glue_bench.statistics.verdicts import ABOVE, BELOW, INCONCLUSIVE, REPRODUCED
from glue_bench.tasks.published import PublishedScore, PublishedTable

_CLAIM_OF = {REPRODUCED: CONFIRMED, BELOW: CONTRADICTED, ABOVE: CONTRADICTED, INCONCLUSIVE: UNDECIDED}


def glue_score_claims(
    claim: GlueClaim, records: Iterable[Record], published: Sequence[PublishedTable]
) -> list[ClaimRow]:
    """A row for each score of the claim's table.

    Of several settings of a task the comparable one with the most finished seeds counts.
    """
    table = next((table for table in published if table.name == claim.table), None)
    if table is None:
        return [make_row(claim, NOT_CHECKABLE, why=f"no published table {claim.table}")]
    own = [record for record in records if (record.encoder.get("hub_id") or "").lower() in _lower(table.hub_ids)]
    rows = [row for section in build_report(own, list(published)).sections for row in section.rows]
    return [_check_score(claim, table.scores[task], [row for row in rows if row.task == task]) for task in claim.tasks]


def _check_score(claim: GlueClaim, score: PublishedScore, rows: Sequence[Row]) -> ClaimRow:
    one = dataclasses.replace(
        claim,
        id=f"{claim.id}.{score.task}",
        title=f"GLUE {claim.tasks[score.task]}",
        says=f"{score.value} ({score.metric})",
        source=score.source,
    )
    if not rows:
        return make_row(one, NOT_RUN, why="no run of it under results_dir")
    row = max(rows, key=lambda row: (row.comparable, not row.optimistic, len(row.seeds)))
    if row.summary is None:
        ended = ", ".join(f"{count} {status}" for status, count in row.unfinished.items())
        return make_row(one, NOT_RUN, why=ended, basis="records")
    verdict, why = _CLAIM_OF.get(row.verdict.kind if row.verdict else "", NOT_CHECKABLE), row.note
    if row.verdict is not None and verdict != NOT_CHECKABLE:
        count = len(row.seeds)
        why = row.verdict.reason or f"{count} {'seed' if count == 1 else 'seeds'}"
        why = f"{row.verdict.kind}: {why}"
    others = f"; {len(rows) - 1} other setting{'s' if len(rows) > 2 else ''} in the report" if len(rows) > 1 else ""
    return make_row(
        one,
        verdict,
        found=f"{row.summary.median:.1f} [{row.summary.minimum:.1f}, {row.summary.maximum:.1f}]",
        why=why + others,
        basis="records",
        details={
            "published": score.value,
            "median": row.summary.median,
            "minimum": row.summary.minimum,
            "maximum": row.summary.maximum,
            "seeds": list(row.seeds),
            "setting_id": row.setting.id,
        },
    )


def _lower(names: Iterable[str]) -> list[str]:
    return [name.lower() for name in names]
