"""Report and records to the page's content. Knows no HTML; reads the runs' files and the dev rows' texts."""

from collections.abc import Sequence

from glue_bench.report.comparison import EncoderComparison
from glue_bench.report.model import CARD_TASKS, Report, Section
from glue_bench.report.page.calibration import write_calibration
from glue_bench.report.page.chapters import write_curves, write_problems, write_seeds
from glue_bench.report.page.comparisons import write_comparisons
from glue_bench.report.page.costs import write_costs
from glue_bench.report.page.display import join_words, show_count
from glue_bench.report.page.entries import Entry, join_entries, name_sections
from glue_bench.report.page.hardest import write_hardest
from glue_bench.report.page.mistakes import write_confusion
from glue_bench.report.page.model import Chapter, Page, ScoreRow, ScoreSection, Verdict
from glue_bench.report.page.origins import write_origins
from glue_bench.report.page.rows import DevRows
from glue_bench.runs.finished import RESULTS_DIR, Defaults
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.statistics.verdicts import NOT_COMPARABLE, NOT_RUN, VERDICTS

_MEANINGS = {
    "reproduced": "the published number lies within what our seeds predict for a run like theirs",
    "below": "our runs lie below the published number",
    "above": "our runs lie above the published number",
    "inconclusive": "too few seeds to tell",
    "not comparable": "other rows, data or initial weights than the published number's: no difference is given",
    "not run": "no run has a score",
    "failed": "some runs have no score; they are counted, never averaged",
}
_ORIGIN_NOTES = (
    f"Each command makes the same runs again, under the same run ids, in a new folder of results ({RESULTS_DIR}): in"
    " the old one they are there already, and nothing would be trained.",
    "Scores repeat bit for bit on the same kind of CPU with the same versions and number of threads; elsewhere they"
    " move a little.",
)


def build_page(
    report: Report,
    records: Sequence[Record],
    *,
    store: RunStore,
    defaults: Defaults,
    comparisons: Sequence[EncoderComparison] = (),
) -> Page:
    """Everything that the page shows.

    Nothing is asked of a network. Files that are missing or damaged are named on the page, and left out.

    Args:
        report: of these very records.
        store: where the runs' files lie.
        comparisons: of two encoders each, set behind the seeds.
    """
    entries = join_entries(report, records, store)
    tasks = _order_tasks(entries)
    labels = name_sections(report)
    sections = [
        _write_section(section, [entry for entry in entries if entry.section == number], tasks, label=label)
        for number, (section, label) in enumerate(zip(report.sections, labels, strict=True))
    ]
    in_order = sorted(entries, key=lambda entry: list(tasks).index(entry.row.task))
    chapters = [
        write_seeds(in_order),
        *([write_comparisons(comparisons)] if comparisons else []),
        write_curves(in_order),
        write_confusion(in_order),
        write_calibration(in_order),
        write_hardest(in_order, DevRows()),
        write_costs(in_order),
    ]
    shown = [chapter for chapter in chapters if any(_is_filled(chapter))]
    return Page(
        title=_title(entries),
        summary=_summarise(entries, records),
        series=list(dict.fromkeys(entry.series for entry in entries)),
        tasks=list(tasks.values()),
        sections=sections,
        verdicts=_key_of_verdicts(entries),
        footnotes=report.footnotes,
        chapters=[*shown, *([write_problems(in_order)] if entries else [])],
        origins=write_origins(sections, entries, defaults),
        origin_notes=_ORIGIN_NOTES,
    )


def _is_filled(chapter: Chapter) -> list[bool]:
    return [bool(group.figures or group.tables) for group in chapter.groups]


def _order_tasks(entries: Sequence[Entry]) -> dict[str, str]:
    """Name and title of every task, in the card's order."""
    titles = {entry.row.task: entry.row.title for entry in entries}
    first = [task for task in CARD_TASKS if task in titles]
    return {task: titles[task] for task in [*first, *sorted(titles.keys() - set(first))]}


def _write_section(section: Section, entries: Sequence[Entry], tasks: dict[str, str], *, label: str) -> ScoreSection:
    changes = ", ".join(f"{name}={value}" for name, value in section.changes.items())
    title = f"{section.encoder}, {section.data}, recipe {section.recipe}{f' with {changes}' if changes else ''}"
    rows = [entry.row for entry in entries]
    averaged = [entry.row for entry, row in zip(entries, section.rows, strict=True) if row in section.averaged]
    headline = [next((row for row in (*averaged, *rows) if row.task == task), None) for task in tasks]
    notes = [] if all(row.comparable for row in section.averaged) else ["not comparable"]
    notes += ["selected on the dev split: optimistic"] if any(row.optimistic for row in section.averaged) else []
    return ScoreSection(
        label=label,
        title=title,
        rows=rows,
        headline=headline,
        headline_notes=_tell_settings(headline, rows, label=label),
        mean=section.mean,
        published_mean=section.published_mean,
        published_title=section.published_title,
        mean_note="; ".join(notes),
    )


def _tell_settings(headline: Sequence[ScoreRow | None], rows: Sequence[ScoreRow], *, label: str) -> dict[str, str]:
    """For each task with several settings, which of them the headline shows."""
    notes = {}
    for shown in headline:
        alike = [row for row in rows if shown is not None and row.task == shown.task]
        if shown is None or len(alike) < 2:
            continue
        words = shown.series.label.removeprefix(label).removeprefix(", ")
        place = f"setting {alike.index(shown) + 1} of {len(alike)} in the table below"
        notes[shown.task] = f"{label}, {shown.title}: {place}{f' ({words})' if words else ''}"
    return notes


def _key_of_verdicts(entries: Sequence[Entry]) -> list[Verdict]:
    kinds = {entry.row.verdict.kind for entry in entries if entry.row.verdict is not None}
    return [Verdict(kind=kind, words=kind, reason=_MEANINGS[kind]) for kind in VERDICTS if kind in kinds]


def _title(entries: Sequence[Entry]) -> str:
    encoders = list(dict.fromkeys(entry.row.encoder for entry in entries))
    if len(encoders) > 3:
        encoders = [*encoders[:2], f"{len(encoders) - 2} more"]
    return f"{join_words(encoders)}, fine-tuned" if encoders else "No runs yet"


def _summarise(entries: Sequence[Entry], records: Sequence[Record]) -> str:
    """One sentence on what is in the folder."""
    if not entries:
        return "This folder of results holds no run that could be shown. Start with: glue-bench sweep preset=sample"
    encoders = list(dict.fromkeys(record.encoder["name"] for record in records))
    finished = sum(record.status == "finished" for record in records)
    seeds = sorted({len(entry.row.seeds) for entry in entries if entry.runs}) or [0]
    often = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    tasks = len({entry.row.task for entry in entries})
    lost = len(records) - finished
    text = f"{show_count(finished, 'finished run')} of {join_words(encoders)} on {show_count(tasks, 'task')}, "
    text += f"{often} {'seed' if often == '1' else 'seeds'} each"
    text += f"; {show_count(lost, 'run')} without a score" if lost else ""
    last = max((record.ended for record in records), default="").partition("T")[0]
    text += f"; the last one ended on {last}" if last else ""
    return f"{text}. Every score is on a development set. {_tell_comparable(entries)}"


def _tell_comparable(entries: Sequence[Entry]) -> str:
    """A sentence on sample data, and on how many rows may be held against published numbers."""
    scored = [entry for entry in entries if entry.row.median is not None]
    sample = [entry for entry in scored if entry.known is not None and entry.known.data.get("source") == "sample"]
    if sample and len(sample) == len(scored):
        return "All of it is on generated sample data, not on GLUE: nothing is comparable with published numbers."
    compared = sum(_is_compared(entry.row) for entry in scored)
    text = f"{compared or 'None'} of {show_count(len(scored), 'row')}" if scored else "No row"
    text += f" {'is' if compared < 2 else 'are'} comparable with published numbers"
    text += (
        f"; {len(sample)} {'is' if len(sample) == 1 else 'are'} on generated sample data, not on GLUE" if sample else ""
    )
    return f"{text}."


def _is_compared(row: ScoreRow) -> bool:
    return row.published is not None and row.verdict is not None and row.verdict.kind not in (NOT_COMPARABLE, NOT_RUN)
