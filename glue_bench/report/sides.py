"""Which two groups of runs `compare` means: encoders, settings, results folders, or two values of one key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.report.comparison import Side, Sides
from glue_bench.report.table import build_report
from glue_bench.runs.filters import KEYS, Filters, facts_of, known_values
from glue_bench.runs.record import Record
from glue_bench.runs.setting import Setting, short_name, show_words, tell_apart
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PublishedTable
from glue_bench.text import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The finished runs that one word names."""

    name: str
    store: RunStore
    records: Sequence[Record]

    @property
    def encoder(self) -> str:
        return str(self.records[0].encoder["name"])


def choose_sides(
    words: Sequence[str], store: RunStore, *, published: list[PublishedTable], filters: Filters, by: str | None = None
) -> Sides:
    """Find the groups that two words name, or one word with two values of a key.

    Args:
        words: one or two of an encoder, a setting id, or a results folder.
        filters: only these runs.
        by: KEY, or KEY=VALUE,VALUE if its runs have more than two values of it.

    Raises:
        UsageError: a word names nothing, or it is not clear what is compared.
    """
    own = [record for record in store.load_all() if record.finished]
    left, right = (_find(word, store, own=own, filters=filters) for word in (words[0], words[-1]))
    if by is not None:
        return _split(left, right, by=by, published=published)
    if words[0] == words[-1]:
        raise UsageError(f"{left.name}: compared with itself; {_how_to_split(left)}")
    names, subject, named = [left.name, right.name], "", list[str]()
    if left.encoder == right.encoder and left.store is right.store:  # two settings
        settings = [Setting.of(group.records[0]) for group in (left, right)]
        found = tell_apart(settings)
        names, subject, named = list(map(show_words, found)), left.encoder, list(found[0])
    groups = zip((left, right), names, strict=True)
    first, second = (Side.of(build_report(g.records, published), g.store, name=name) for g, name in groups)
    return Sides(first=first, second=second, subject=subject, named=named)


def _find(word: str, store: RunStore, *, own: Sequence[Record], filters: Filters) -> _Group:
    """Find a group of the `own` runs of the store, or else of another folder."""
    place = store.root.parent
    for fact in ("encoder", "setting_id"):
        alike = [record for record in own if facts_of(record)[fact] == word]
        if alike:
            return _Group(name=word, store=store, records=filters.choose_records(alike, place=place))
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
    return _Group(name=word, store=other, records=found)


def _split(left: _Group, right: _Group, *, by: str, published: list[PublishedTable]) -> Sides:
    key, _, chosen = by.partition("=")
    if key not in KEYS:
        names = [name for name in KEYS if short_name(name) == key]
        raise UsageError(f"--by {by}: no such key{did_you_mean(key, names or KEYS)}")
    facts = [facts_of(record) for record in {id(r): r for r in (*left.records, *right.records)}.values()]
    values = known_values(facts, key)
    asked = chosen.strip("[]").split(",") if chosen else values
    who = left.name if left.name == right.name else f"{left.name} and {right.name}"
    if len(asked) != 2 or asked[0] == asked[1]:
        has = f"the finished runs of {who} have {plural(len(values), 'value')} of {key}: {', '.join(values) or 'none'}"
        more = f"; choose two: --by {key}={values[0]},{values[-1]}" if len(values) > 2 else ""
        raise UsageError(f"--by {by}: {has}{more}")
    sides, names = list[Side](), list[str]()
    for group, value in zip((left, right), asked, strict=True):
        place = group.store.root.parent
        own = Filters.read([f"{key}={value}"]).choose_records(group.records, place=place)
        word = f"{short_name(key)}={value}"
        names.append(word if left.name == right.name else f"{group.name} {word}")
        sides.append(Side.of(build_report(own, published), group.store, name=names[-1]))
    return Sides(first=sides[0], second=sides[1], subject=left.name if left.name == right.name else "", named=[key])


def _how_to_split(group: _Group) -> str:
    """Say in which keys the runs of a group differ."""
    by_task = dict[str, list[Setting]]()
    for record in group.records:
        by_task.setdefault(record.task, []).append(Setting.of(record))
    keys = dict.fromkeys(key for alike in by_task.values() for key in alike[0].difference(*alike[1:], but=("grid",)))
    if usable := [key for key in keys if key in KEYS]:
        return f"its runs differ in {', '.join(usable)}: add --by {usable[0]}"
    return "its runs have one setting; name two different encoders, settings or folders"
