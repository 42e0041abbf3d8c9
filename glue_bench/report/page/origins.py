"""How every number was made: configuration, data, versions, and the command to repeat it. Knows no plots."""

from collections.abc import Mapping, Sequence
from typing import Any

from glue_bench.report.page.display import join_words, show_number
from glue_bench.report.page.entries import Entry
from glue_bench.report.page.model import Column, Origin, OriginSection, ScoreSection, Table
from glue_bench.runs.finished import Defaults, join_command, sweep_words
from glue_bench.runs.record import Record


def write_origins(
    sections: Sequence[ScoreSection], entries: Sequence[Entry], defaults: Defaults
) -> Sequence[OriginSection]:
    """One part for each section of the report, one origin for each of its rows."""
    written = []
    for number, section in enumerate(sections):
        known = [entry for entry in entries if entry.section == number and entry.known is not None]
        origins = [_write_origin(entry, defaults) for entry in known]
        if origins:
            command = _common_command(known, defaults) if len(known) > 1 else None
            written.append(OriginSection(title=section.title, command=command, origins=origins))
    return written


def _words(entry: Entry, defaults: Defaults) -> list[str]:
    record = _known(entry)
    seeds = sorted({run.seed for run in (*entry.runs, *entry.unfinished)})
    return sweep_words(record, defaults, seeds=seeds)


def _common_command(entries: Sequence[Entry], defaults: Defaults) -> str | None:
    """One command for all rows of a section, if they differ in the task alone."""
    words = [_words(entry, defaults) for entry in entries]
    if len({tuple(words[1:]) for words in words}) > 1 or len({entry.row.task for entry in entries}) < len(entries):
        return None
    tasks = f"tasks=[{','.join(entry.row.task for entry in entries)}]"
    own_task = any(entry.row.task not in defaults.tasks for entry in entries)
    return join_command([tasks, *words[0][1:]], own_task=own_task)


def _write_origin(entry: Entry, defaults: Defaults) -> Origin:
    record = _known(entry)
    own_task = record.task not in defaults.tasks
    notes = ["my_conf stands for the folder that has the task's YAML file."] if own_task else []
    if record.config.get("grid"):
        notes.append("This repeats the chosen cell; without the trainer values of the cell it searches the whole grid.")
    return Origin(
        title=f"{entry.row.title}, {entry.series.label}",
        command=join_command(_words(entry, defaults), own_task=own_task),
        command_notes=notes,
        facts=[(name, value) for name, value in _facts(record, entry) if value],
        trainer=[(key, _value(value)) for key, value in record.config["trainer"].items()],
        runs=_run_table(entry),
    )


def _known(entry: Entry) -> Record:
    assert entry.known is not None  # noqa: S101 - asked before
    return entry.known


def _facts(record: Record, entry: Entry) -> list[tuple[str, str]]:
    """Name and value; those without a value are left out by the caller."""
    encoder, data, config = record.encoder, record.data, record.config
    changes = dict(config.get("recipe_changes") or {})
    changed = f" with {join_words([f'{key}={value}' for key, value in changes.items()])}" if changes else ""
    versions = dict(record.versions)
    return [
        ("metric", entry.row.metric),
        ("published number", entry.row.published_source or ""),
        ("encoder", _join(encoder["name"], encoder.get("hub_id"), encoder.get("revision"))),
        ("weights, SHA-256", str(encoder.get("weights_sha256") or "")),
        ("parameters, with the head", f"{encoder['parameters']:,}" if encoder.get("parameters") else ""),
        ("data", _join(data["source"], data.get("dataset"), data.get("revision"), config["data"].get("path"))),
        ("rows", _counts(data.get("rows") or {})),
        ("fingerprint of texts and labels", str(data.get("fingerprint") or "")),
        ("rows cut at max_length", _counts(data.get("truncated") or {})),
        ("recipe", f"{record.recipe}{changed}"),
        ("initial weights", record.init),
        ("weights scored", _selection(record)),
        ("cell of the grid", join_words([f"{key}={value}" for key, value in (config.get("cell") or {}).items()])),
        ("device", _join(record.device, record.precision, f"{record.engine} engine" if record.engine else "")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("commit of glue-bench", record.git or ""),
    ]


def _selection(record: Record) -> str:
    words = {
        "last": "the last epoch's",
        "best": "the best epoch's on the dev split (optimistic)",
        "holdout": "the best epoch's on held-out training rows",
    }
    return words.get(record.selection, record.selection)


def _counts(rows: Mapping[str, Any]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in rows.items())


def _join(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)


def _value(value: Any) -> str:
    return "none" if value is None else f"[{', '.join(map(_value, value))}]" if isinstance(value, list) else str(value)


def _run_table(entry: Entry) -> Table:
    """Every run of the row, those without a score included."""
    scores = dict(zip(entry.row.seeds, entry.row.values, strict=True))
    columns = ("seed", "run id", "status", "score", "updates", "ended (UTC)", "streams of chance")
    runs = sorted((*entry.runs, *entry.unfinished), key=lambda run: run.seed)
    rows = [
        (
            str(run.seed),
            run.run_id,
            run.status,
            show_number(scores.get(run.seed), digits=2) if run.status == "finished" else "",
            f"{run.steps:,}" if run.steps else "",
            run.ended.partition(".")[0].replace("T", " "),
            ", ".join(f"{name} {seed}" for name, seed in run.streams.items()),
        )
        for run in runs
    ]
    return Table(
        caption=f"Runs of {entry.row.title}, {entry.series.label}",
        columns=[Column(title=title, numeric=title in ("seed", "score", "updates")) for title in columns],
        rows=rows,
    )
