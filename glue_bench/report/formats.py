"""Write reports and comparisons in every format but HTML, or as one table of a paper; check against an earlier JSON."""

import csv
import io
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from glue_bench.errors import InputError, UsageError
from glue_bench.reading import conform, read_json
from glue_bench.report.columns import TextTable, comparison_tables, report_tables
from glue_bench.report.comparison import Comparison, TaskComparison
from glue_bench.report.model import CARD_TASKS, Line, Report, Row, Section, load_template, write_notes
from glue_bench.runs.setting import Setting
from glue_bench.statistics.verdicts import SIGNIFICANCE, adjust_holm, drop_p_value
from glue_bench.text import escape_cell, plural, visible

_SCHEMA_VERSION = 2  # of the JSON report
# Columns that may wrap, and their smallest width.
_WRAPPED = {"metric": 14, "verdict": 14, "claim": 12, "the card says": 16, "found": 20, "setting": 20, "labels": 16}
_WRAPPED |= {"note": 24, "folder": 24, "what is known": 24, "published: distilroberta": 20, "published: roberta": 20}
# Columns that are dropped in a narrow terminal, in this order.
_LEFT_OUT = (
    *("note", "device", "metric", "dev rows", "detectable", "p (Holm)", "seeds", "difference", "kept"),
    *("seconds of training", "95 % interval", "published: roberta", "published: distilroberta"),
)
_SENTENCES = ("metric", "note")  # shown below the table if they do not fit into it
_GAP = 3  # characters between two columns
_LONGEST_WORD = 20  # of a header that is not broken
_WIDEST = 32  # characters of a line's name in the table of a paper: what makes one longer is in the note
_EMPTY_ROW = Row(setting=Setting(encoder="", task="", recipe="", data=""), title="", metric="", convention="")

JsonRow = Mapping[str, Any]  # as `Row.to_json` writes it
# The fields of one that `--check` reads, and their types; the first ones identify its setting.
_SETTING: dict[str, Any] = dict.fromkeys(("encoder", "data", "task", "recipe", "init", "selection"), str)
_SETTING |= {"recipe_changes": Mapping[str, str], "cell": Mapping[str, Any]}
_READ: dict[str, Any] = {"title": str, "metric": str, "n": int | None, "fingerprint": str | None, "setting_id": str}
_READ |= {"seeds": list[int], "run_ids": list[str], "values": list[float], "low": float | None, "high": float | None}
_HIGHEST = 100  # scores are times 100
_NORMAL_95 = 1.959964  # half the width of a 95 % interval in standard errors


def render_report(report: Report, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """Render the report in any format but HTML; a console table is `width` columns wide, None for the terminal's."""
    if format_name == "json":
        sections = list[dict[str, Any]]()
        for section in report.sections:
            about = {key: getattr(section, key) for key in ("encoder", "data", "recipe", "recipe_changes")}
            means = [(line.mean, line.published_mean) for line in section.lines if line.mean is not None]
            about["mean"], about["published_mean"] = means[0] if len(means) == 1 else (None, None)
            others = [other for row in section.rows for other in _others(row)]
            more = {"other_published": others} if others else {}
            sections.append({**about, "rows": [row.to_json() for row in section.rows], **more})
        return _json({"sections": sections, "footnotes": report.footnotes})
    if format_name == "csv":
        every = [row for section in report.sections for row in section.rows]
        rows = [{**row.to_json(), "other_published": _others(row) or None} for row in every]
        return render_csv(rows, like=[*_EMPTY_ROW.to_json(), "other_published"])
    if not report.sections:
        words = " ".join(report.footnotes) or "No runs yet. Start with: glue-bench sweep preset=sample"
        return f"{'% ' if format_name == 'latex' else ''}{words}\n"
    tables = report_tables(report)
    if format_name == "latex":
        return _fill("tables.tex", tables=tables, notes=report.footnotes, sections=report.sections)
    return render_tables(tables, report.footnotes, format_name=format_name, width=width, color=color)


def _others(row: Row) -> list[dict[str, Any]]:
    keys = ("task", "setting_id", "metric", "median", "published", "difference", "verdict", "verdict_reason", "note")
    found = {name: other.to_json() for name, other in row.others.items()}
    return [{"published_row": name, **{key: facts[key] for key in keys}} for name, facts in found.items()]


def render_comparison(
    compared: Comparison, format_name: str, *, notes: Sequence[str] = (), width: int | None = None, color: bool = False
) -> str:
    """Render two encoders side by side as text, then notes; the other arguments are those of `render_report`."""
    # Only the page shows tokens per second.
    content = asdict(compared, dict_factory=lambda pairs: {k: v for k, v in pairs if k != "tokens_per_second"})
    if format_name == "json":
        return _json(content | ({"footnotes": notes} if notes else {}))
    if format_name == "csv":
        names = {"encoder": compared.first, "beside": compared.second}
        rows = [names | task for task in content["tasks"]]
        return render_csv(rows, like=[*names, *TaskComparison.__dataclass_fields__])
    notes = [*notes, *write_notes("comparison_rule")]
    return render_tables(comparison_tables(compared), notes, format_name=format_name, width=width, color=color)


def render_tables(
    tables: Sequence[TextTable], notes: Sequence[str], *, format_name: str, width: int | None, color: bool
) -> str:
    """Render tables, with the notes once, as console, markdown or latex; further arguments as in `render_report`."""
    if format_name != "console":
        name = "tables.md" if format_name == "markdown" else "tables.tex"
        return _fill(name, tables=tables, notes=notes, sections=())
    plain: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    console = Console(file=(stream := io.StringIO()), width=width, force_terminal=color, no_color=not color, **plain)
    for text in tables:
        console.print(visible(text.title), style="bold")
        widths = _fit(text, console.width)
        shown = text.select(widths)
        whole = 2 + sum(widths.values()) + _GAP * (len(widths) - 1)  # wider than a terminal too narrow for a letter
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, width=whole)
        for place, (header, size) in enumerate(zip(shown.headers, widths.values(), strict=True)):
            justify: Literal["left", "right"] = "right" if shown.is_right(place) else "left"
            table.add_column(visible(header), justify=justify, width=size, overflow="fold")
        for place, line in enumerate(shown.lines):
            if place == len(shown.rows):
                table.add_section()
            table.add_row(*map(visible, line))
        console.print(table, crop=False)
        lost = {name for place, name in enumerate(text.headers) if place not in widths and text.is_used(place)}
        for words in text.sentences(lost & {*_SENTENCES}):
            console.print(visible(words))
        if numbers := ", ".join(name for name in text.headers if name in lost and name not in _SENTENCES):
            console.print(f"A wider terminal also shows: {numbers}.", style="dim")
        console.print(*map(visible, text.notes), "", sep="\n")
    for note in notes:
        console.print(visible(note), style="dim")
    return stream.getvalue()


def _fill(template: str, **values: Any) -> str:
    return load_template(template).render(values).rstrip() + "\n"


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps({"schema_version": _SCHEMA_VERSION, **content}, indent=1, allow_nan=False) + "\n"


def render_csv(rows: Sequence[Mapping[str, Any]], *, like: Iterable[str]) -> str:
    """Write one line per row, lists and mappings as JSON; `like` names the columns."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(like), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in row.items()}
        writer.writerow({key: escape_cell(value) for key, value in flat.items()})
    return stream.getvalue()


def _fit(text: TextTable, width: int) -> dict[int, int]:
    """Return the columns that fit with their widths: a header may wrap, and a cell is never cropped."""
    longest, widths = dict[int, int](), dict[int, int]()
    for place, header in enumerate(text.headers):
        if text.is_used(place):
            cell = max(cell_len(visible(line[place])) for line in text.lines)
            word = max(map(cell_len, header.split()), default=0)
            longest[place] = max(cell, cell_len(visible(header)))
            widths[place] = min(longest[place], _WRAPPED.get(header, max(cell, min(word, _LONGEST_WORD))))

    def spare() -> int:
        return width - 2 - sum(widths.values()) - _GAP * (len(widths) - 1)

    for header in _LEFT_OUT:
        if spare() >= 0:
            break
        widths = {place: size for place, size in widths.items() if text.headers[place] != header}
    while spare() < 0 and max(widths.values(), default=0) > 1:  # only letters that wrap are left to give
        widths[max(widths, key=widths.__getitem__)] -= 1
    for place in widths:
        if text.headers[place] not in _WRAPPED:
            widths[place] += max(min(longest[place] - widths[place], spare()), 0)
    rest = sorted((place for place in widths if longest[place] > widths[place]), key=longest.__getitem__)
    for number, place in enumerate(rest):  # equal shares; what a short column leaves goes to the longer ones
        widths[place] += max(min(longest[place] - widths[place], spare() // (len(rest) - number)), 0)
    return widths


def render_paper(report: Report, *, spread: Literal["sd", "range"] = "sd") -> str:
    """Render a float that a paper can input: mean and standard deviation over the seeds, or median and range.

    A UsageError if the rows of a task do not all have one metric.
    """
    finished = dict[str, Row]()
    for row in report.finished:
        if (known := finished.setdefault(row.task, row)).metric != row.metric:
            both = f"{known.metric} of {known.setting.encoder} and {row.metric} of {row.setting.encoder}"
            raise UsageError(f"--style paper: no column for {both} on {row.title}; choose runs, as in encoder=NAME")
    if not finished:
        return "% No finished run yet.\n"
    lines, explained = list[tuple[str, Line, Section | None]](), list[str]()  # a name; the section after its last line
    for section in report.sections:
        own = [line for line in section.lines if any(row.seeds for row in line.rows)]
        for line in own:
            label = ", ".join(filter(None, (section.name, line.words)))
            if line.words and len(label) > _WIDEST:
                turns, letter = divmod(len(explained), 26)
                label = f"{section.name} ({ascii_lowercase[letter] * (turns + 1)})"
                explained.append(f"{label}: {line.words}.")
            lines.append((label, line, section if line is own[-1] else None))
    counts = {label: sorted({len(row.seeds) for row in line.rows if row.seeds}) for label, line, _ in lines}
    usual = Counter(count for own in counts.values() for count in own).most_common(1)[0][0]
    unusual = {label: dict.fromkeys((own[0], own[-1])) for label, own in counts.items() if own != [usual]}
    others = "; ".join(f"{label}: {' to '.join(map(str, ends))}" for label, ends in unusual.items())
    seeds = plural(usual, "seed") + (f" ({others})" if others else "")
    rows = [row for _, line, _ in lines for row in line.rows]
    return _fill(
        "paper.tex",
        caption=" ".join(write_notes("caption", rows, spread, seeds)),
        tasks=sorted(finished.values(), key=lambda row: row.order),
        lines=lines,
        spread=spread,
        card_tasks=CARD_TASKS,
        means=any(line.mean is not None for _, line, _ in lines),
        note=" ".join([*explained, *write_notes("paper", rows, report.sections)]),
    )


def check_report(report: Report, baseline: Sequence[JsonRow]) -> list[tuple[str, bool]]:
    """Compare every row of the earlier report, as `read_baseline` reads it, with the row of the same setting now.

    Returns for each a line, with the medians over the seeds as tables show them, and whether it fails the check.
    """
    now = [row.to_json() for row in report.finished]
    found = [_find(earlier, now) for earlier in baseline]
    both = zip(baseline, found, strict=True)
    raw = [_p_value(old, new) if new and new["metric"] == old["metric"] else None for old, new in both]
    adjusted = iter(adjust_holm([p for p in raw if p is not None]))
    checked = []
    for earlier, row, p in zip(baseline, found, raw, strict=True):
        p_value, fault, remark = None if p is None else next(adjusted), "", ""
        if row is None:
            fault = "this setting no longer has a finished run"
        elif row["metric"] != earlier["metric"]:
            fault = f"now shown as {row['metric']}, before as {earlier['metric']}: use the same --convention"
        elif row["n"] != earlier["n"]:
            fault = f"{row['n']} dev rows, {earlier['n']} before: not the same test"
        elif row["fingerprint"] and earlier["fingerprint"] and row["fingerprint"] != earlier["fingerprint"]:
            fault = "other texts or labels than before: not the same test"
        elif p_value is None and statistics.median(row["values"]) < statistics.median(earlier["values"]):
            remark = "lower, but the noise of these runs is unknown"
        elif p_value is not None and p_value < SIGNIFICANCE:
            drop = statistics.fmean(earlier["values"]) - statistics.fmean(row["values"])
            fault = f"the mean fell by {drop:.1f} (adjusted p {p_value:.3f})"
        elif lost := row["degenerate"]:  # which widens the spread, so that no fall is significant
            (remark,) = write_notes("doubtful", lost, row["seeds"], "degenerate")
        medians = [
            f"{statistics.median(each['values']):.1f} ({plural(len(each['seeds']), 'seed')})" if each else "gone"
            for each in (earlier, row)
        ]
        words = f"{earlier['encoder']} {earlier['title']}: {', now '.join(medians)}"
        checked.append((": ".join(filter(None, (words, fault or remark))), bool(fault)))
    return checked


def read_baseline(path: Path) -> list[JsonRow]:
    """Read the rows with finished runs from a file that `report --format json` wrote.

    An InputError if the file cannot be read, or is not such a report.
    """
    try:
        content = read_json(path)
        version = content["schema_version"]
        if version != _SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}; this glue-bench writes {_SCHEMA_VERSION}")
        rows = [row for section in content["sections"] for row in section["rows"] if row["seeds"]]
        if not rows:
            raise ValueError("it has no row with finished runs, so there is nothing to check")
        for row in rows:
            for key, hint in (_SETTING | _READ).items():
                conform(hint, row[key], where=f"a row.{key}")
            if not len(row["values"]) == len(row["seeds"]) == len(row["run_ids"]):
                raise ValueError("the values or run_ids of a row do not belong to its seeds")
            numbers = (*row["values"], row["low"] or 0, row["high"] or 0)
            if not all(-_HIGHEST <= number <= _HIGHEST for number in numbers):
                raise ValueError(f"a value or the interval of a row is not between -{_HIGHEST} and {_HIGHEST}")
    except OSError as error:
        raise InputError(f"--check {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"--check {path}: not written by `report --format json` ({reason})") from error
    return rows


def _find(earlier: JsonRow, now: Sequence[JsonRow]) -> JsonRow | None:
    """Find the row of the same setting as far as JSON shows it; of several, the one most like the earlier row."""

    def likeness(row: JsonRow) -> list[int]:
        # A setting has two rows if its runs differ in precision: then the shared runs decide.
        shared = len({*row["run_ids"]} & {*earlier["run_ids"]})
        return [*(row[key] == earlier[key] for key in ("metric", "setting_id", "fingerprint")), shared]

    return max((row for row in now if all(row[key] == earlier[key] for key in _SETTING)), key=likeness, default=None)


def _p_value(earlier: JsonRow, row: JsonRow) -> float | None:
    """Return the p-value of a drop; None where the noise is unknown."""
    known = all(each[end] is not None for each in (earlier, row) for end in ("low", "high"))
    first, second = ((each["high"] - each["low"]) / (2 * _NORMAL_95) if known else 0.0 for each in (earlier, row))
    return drop_p_value(earlier["values"], row["values"], errors=(first, second) if known else None)
