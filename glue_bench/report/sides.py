"""Which two groups of runs `compare` means: encoders, settings, results folders, or two values of one key."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.report.comparison import Side, Sides
from glue_bench.report.table import build_report
from glue_bench.runs.filters import KEYS, Filters, facts_of, known_values
from glue_bench.runs.record import Record
from glue_bench.runs.setting import Setting, short_name, show_value, show_words, tell_apart
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PublishedTable
from glue_bench.text import plural


def choose_sides(
    words: Sequence[str], store: RunStore, *, published: list[PublishedTable], filters: Filters, by: str | None = None
) -> Sides:
    """Find the groups that two words name, or one word with two values of a key.

    `words` are one or two of an encoder, a setting id, or a results folder; `by` is KEY, or KEY=VALUE,VALUE if its runs
    have more than two values of it. A UsageError if a word names nothing, or it is not clear what is compared.
    """
    own = [record for record in store.load_all() if record.finished]
    left, right = (_find(word, store, own=own, filters=filters) for word in (words[0], words[-1]))
    subject, named = "", list[str]()
    if by is not None:
        subject, named = left.name if left.name == right.name else "", [by.partition("=")[0]]
        left, right = _split(left, right, by=by)
    elif words[0] == words[-1]:
        raise UsageError(f"{left.name}: compared with itself; {_how_to_split(left)}")
    both = {run.place for run in left.records} & {run.place for run in right.records}
    if both and left.store.root.samefile(right.store.root):
        common = f"have {plural(len(both), 'run')} in common; name two groups that share none"
        raise UsageError(f"{left.name} and {right.name}: {common}")
    encoders = {str(group.records[0].encoder["name"]) for group in (left, right)}
    if by is None and len(encoders) == 1 and left.store is right.store:  # two settings
        found = tell_apart([Setting.of(group.records[0]) for group in (left, right)])
        subject, named, pairs = encoders.pop(), list(found[0]), zip((left, right), found, strict=True)
        left, right = (dataclasses.replace(group, name=show_words(differs)) for group, differs in pairs)
    reports = [(group, build_report(group.records, published)) for group in (left, right)]
    first, second = (dataclasses.replace(group, rows=report.finished) for group, report in reports)
    return Sides(first=first, second=second, subject=subject, named=named)


def _find(word: str, store: RunStore, *, own: Sequence[Record], filters: Filters) -> Side:
    """Find a group of the `own` runs of the store, or else of another folder."""
    place = store.root.parent
    if alike := [record for record in own if word in (record.encoder["name"], record.setting_id)]:
        return Side(name=word, store=store, records=filters.choose_records(alike, place=place))
    if not (Path(word) / "runs").is_dir():
        known = sorted({record.encoder["name"] for record in own})
        folder = "; nor is it a setting_id or a results folder" if known else ""
        hint = did_you_mean(word, known) if known else ""
        raise UsageError(f"{word}: there are no finished runs of this encoder in {place}{folder}{hint}")
    other = RunStore(Path(word))
    finished = [record for record in other.load_all() if record.finished]
    if not finished:
        raise UsageError(f"{word}: no finished run in this results folder")
    found = filters.choose_records(finished, place=Path(word))
    encoders = sorted({record.encoder["name"] for record in found})
    if len(encoders) > 1:
        raise UsageError(f"{word}: has runs of {', '.join(encoders)}; choose one, as in encoder={encoders[0]}")
    return Side(name=word, store=other, records=found)


def _split(left: Side, right: Side, *, by: str) -> list[Side]:
    key, _, chosen = by.partition("=")
    if key not in KEYS:
        names = [name for name in KEYS if short_name(name) == key]
        raise UsageError(f"--by {by}: no such key{did_you_mean(key, names or KEYS)}")
    facts = [facts_of(record) for record in {id(r): r for r in (*left.records, *right.records)}.values()]
    values = known_values(facts, key)
    asked = values
    if chosen:  # values may have commas themselves: the comma that counts is between two known ones
        ways = ([chosen[:at], chosen[at + 1 :]] for at, char in enumerate(chosen) if char == ",")
        asked = next((way for way in ways if {*way} <= {*values}), chosen.strip("[]").split(","))
    who = left.name if left.name == right.name else f"{left.name} and {right.name}"
    if len(asked) != 2 or asked[0] == asked[1]:
        has = f"the finished runs of {who} have {plural(len(values), 'value')} of {key}: {', '.join(values) or 'none'}"
        more = f"; choose two: --by {shlex.quote(f'{key}={values[0]},{values[-1]}')}" if len(values) > 2 else ""
        raise UsageError(f"--by {by}: {has}{more}")
    groups = list[Side]()
    for group, value in zip((left, right), asked, strict=True):
        own = [run for run in group.records if show_value(facts_of(run).get(key, "")) == value != ""]
        own = own or Filters.read([f"{key}={value}"]).choose_records(group.records, place=group.store.root.parent)
        word = f"{short_name(key)}={value}"
        name = word if left.name == right.name else f"{group.name} {word}"
        groups.append(dataclasses.replace(group, name=name, records=own))
    return groups


def _how_to_split(group: Side) -> str:
    """Say in which keys the runs of a group differ."""
    by_task = dict[str, list[Setting]]()
    for record in group.records:
        by_task.setdefault(record.task, []).append(Setting.of(record))
    keys = dict.fromkeys(key for alike in by_task.values() for key in alike[0].difference(*alike[1:], but=("grid",)))
    if usable := [key for key in keys if key in KEYS]:
        return f"its runs differ in {', '.join(usable)}: add --by {usable[0]}"
    return "its runs have one setting; name two different encoders, settings or folders"
