"""The setting of a run: everything in which two rows of a table can differ. Knows no scores."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from glue_bench.config.keys import NOT_IN_IDENTITY, keys_of
from glue_bench.config.schema import LATER, PEFT, PEFT_KEYS, WAYS, TrainerConfig
from glue_bench.runs.record import Record
from glue_bench.text import quote_value

# Trainer values that change no score: runs of one setting may differ in them.
EXECUTION = keys_of(TrainerConfig, *NOT_IN_IDENTITY)

# Facts that are hashes, each with the name of the letters that stand for them, and the keys that explain a difference.
_HASHES = {
    "data.fingerprint": ("rows", ("data", "data.revision", "data.sample", "data.max_train_rows", "data.max_eval_rows")),
    "encoder.weights_sha256": ("weights", ("encoder", "encoder.hub_id", "encoder.revision")),
}
USUAL_WAYS = {**WAYS, "peft": "none", **{f"peft.{name}": usual for name, usual in PEFT.items()}}
_FIRST = {"init": "pretrained", "selection": "last", **USUAL_WAYS}  # values that come first, whatever their name
LIMITS = {"max_train_rows": None, "max_eval_rows": None, "sample": "first"}
_INPUTS = ("weights", "fingerprint", "precision", "engine", "products")  # fields that a run knows once it has read them
# Fields in which settings can differ, in the order of tables. `FIELD=NAME` is known to users by another name; a mapping
# (ways, trainer, limits) has a fact for each of its keys, and NAME is how their names begin.
_FACTS = (
    "encoder hub_id=encoder.hub_id encoder_revision=encoder.revision task source=data data_revision=data.revision "
    "recipe init init_seed init_seeds ways= trainer=trainer. selection holdout limits=data. "
    "fingerprint=data.fingerprint precision engine products weights=encoder.weights_sha256"
)
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_MEANINGFUL = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A run's configuration without its seed. Runs of one setting may be averaged.

    Equal settings agree in every field but `grid`: the same cell may belong to a narrower and to a wider grid.
    Unknown values are empty, as in a run that failed before it had read its inputs; None: there is no such value.
    """

    encoder: str
    task: str
    recipe: str
    data: str  # in words: `nyu-mll/glue on the hub`
    id: str = ""  # the record's setting_id
    hub_id: str = ""
    encoder_revision: str = ""
    source: str = ""  # hub, local or sample
    data_revision: str = ""
    recipe_changes: Mapping[str, str] = field(default_factory=dict, hash=False)  # values that are not the recipe's
    init: str = "pretrained"  # or the task that the initial weights were fine-tuned on
    init_seed: int | str | None = None  # of that task's run, or which it is by score; None if it is each run's own
    init_seeds: str | None = None  # that median or best is chosen among
    selection: str = "last"  # last, best, holdout or halves
    holdout: float | None = None  # None unless the selection is holdout
    ways: Mapping[str, Any] = field(default_factory=dict, hash=False)  # head, freeze, peft, and the keys of its method
    cell: Mapping[str, Any] = field(default_factory=dict, hash=False)  # trainer values from a grid
    grid: Mapping[str, list[Any]] = field(default_factory=dict, compare=False)  # trainer key to the values to try
    trainer: Mapping[str, Any] = field(default_factory=dict, hash=False)  # without EXECUTION
    limits: Mapping[str, Any] = field(default_factory=dict, hash=False)  # max_train_rows, max_eval_rows, sample
    fingerprint: str = ""  # of all texts and labels
    precision: str = ""  # in which the run computed, whatever trainer.precision asked for
    engine: str = ""  # that `trainer.engine=auto` chose: an earlier version may have chosen another
    products: str = ""  # that `trainer.products=auto` chose, which depends on the machine
    weights: str = ""  # SHA-256 of the pretrained weights, 12 digits
    path: str = field(default="", compare=False)  # of local rows: says which of two files with the same rows it was

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return the setting of a record."""
        config, data, encoder, init = record.config, record.data, record.encoder, record.init_kind
        words = {"hub": f"{data.get('dataset')} on the hub", "local": "local files", "sample": "sample data"}
        trainer = {key: value for key, value in {**LATER, **config["trainer"]}.items() if key not in EXECUTION}
        peft, ways = config.get("peft", {}), {name: config.get(name, usual) for name, usual in WAYS.items()}
        own = PEFT_KEYS[method := peft.get("method", "none")]  # a key that the method does not have is unknown
        of_method = {f"peft.{name}": peft.get(name, usual) if name in own else "" for name, usual in PEFT.items()}
        # Older records of runs that start from another run hold the hash of that run's weights in its place.
        known = init == "pretrained" or "init_sha256" in encoder
        return cls(
            **{name: getattr(record, name) for name in ("task", "recipe", "selection", "precision")},
            **{name: config.get(name, {}) for name in ("recipe_changes", "cell", "grid")},
            encoder=encoder["name"],
            data=words[data["source"]],
            id=record.setting_id,
            hub_id=encoder.get("hub_id") or "",
            encoder_revision=encoder.get("revision") or "",
            source=data["source"],
            data_revision=data.get("revision") or "",
            init=init,
            init_seed=None if init == "pretrained" else config.get("init_seed"),
            init_seeds=", ".join(map(str, config.get("init_seeds", ()))) or None,
            holdout=config.get("holdout") if record.selection == "holdout" else None,
            ways={**ways, "peft": method, **of_method},
            trainer=trainer,
            limits={key: config["data"].get(key, usual) for key, usual in LIMITS.items()},
            fingerprint=data.get("fingerprint") or "",
            engine=record.engine if trainer.get("engine") == "auto" else "",
            products=record.ways[-1] if trainer["products"] == "auto" else "",
            weights=(encoder.get("weights_sha256") or "")[:12] if known else "",
            path=config["data"].get("path") or "",
        )

    @property
    def section(self) -> tuple[str, ...]:
        """What the rows of one section of the report have in common."""
        return self.encoder, self.hub_id, self.encoder_revision, self.source, self.data_revision, self.recipe

    @property
    def searched(self) -> list[str]:
        """The facts whose value comes from a grid."""
        return [f"trainer.{key}" for key in self.cell if key not in self.recipe_changes]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What only a run that has read its inputs knows."""
        return tuple(getattr(self, name) for name in _INPUTS)

    def facts(self) -> dict[str, Any]:
        """Return every value in which two settings can differ, by the name that users know. Empty text: unknown."""
        found = dict[str, Any]()
        for name, _, known_as in (fact.partition("=") for fact in _FACTS.split()):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                found |= {f"{known_as}{key}": each for key, each in value.items()}
            elif value is not None:
                found[known_as or name] = value
        return {**found, "grid": ", ".join(sorted(self.cell))}

    def difference(self, *others: Self, but: Collection[str] = ()) -> dict[str, tuple[Any, ...]]:
        """Return the facts in which this setting and the others differ: name to each one's value, this one's first.

        Facts in `but` are left out, and a hash where another fact explains why it differs.
        """
        found = _differing([setting.facts() for setting in (self, *others)])
        return {name: values for name, values in found.items() if name not in but}

    @property
    def unusual_ways(self) -> dict[str, Any]:
        """What is trained, where it is not the usual."""
        return {name: value for name, value in self.ways.items() if value not in ("", USUAL_WAYS[name])}

    @property
    def way_words(self) -> list[str]:
        """The KEY=VALUE words for what is trained, where it is not the usual."""
        return [override_word(name, value) for name, value in self.unusual_ways.items()]

    @property
    def method(self) -> str:
        """What is trained, as published rows name it: full, a method of peft, or what is frozen."""
        return next((word.removeprefix("peft=") for word in self.way_words if not word.startswith("head=")), "full")

    def as_cell(self, keys: Iterable[str]) -> Self:
        """Return the same values as a cell of a grid of these trainer keys."""
        cell = {key: self.trainer.get(key) for key in keys}
        changes = {key: value for key, value in self.recipe_changes.items() if key not in cell}
        return dataclasses.replace(self, cell=cell, recipe_changes=changes)

    def without_cell(self) -> Self:
        """Return what all cells of a grid share, without inputs, which a cell without a finished run does not know."""
        unknown: dict[str, Any] = dict.fromkeys(("id", *_INPUTS), "")
        trainer = {key: value for key, value in self.trainer.items() if key not in self.cell}
        return dataclasses.replace(self, **unknown, cell=dict.fromkeys(sorted(self.cell)), trainer=trainer)


def tell_apart(settings: Sequence[Setting], *, chosen: Sequence[Collection[str]] = ()) -> list[dict[str, Any]]:
    """Return what distinguishes each of these settings of one task: the facts in which they differ, by their names.

    Letters stand for hashes, and for settings that differ in nothing that has a name, nor in the folder of their rows.
    `chosen` are, for each setting, the facts whose value a search chose: two searches do not differ in them.
    """
    facts = [setting.facts() for setting in settings]
    searched = chosen or [()] * len(facts)
    names = _differing([{**each, **dict.fromkeys(by, "chosen")} for each, by in zip(facts, searched, strict=True)])
    names.pop("grid", None)
    if "recipe" in names:  # which explains its own values
        own = {f"trainer.{key}" for each in settings for key in (*each.recipe_changes, *each.cell)}
        names = {name: values for name, values in names.items() if not name.startswith("trainer.") or name in own}
    found = [{name: each.get(name) for name in names if name not in _HASHES} for each in facts]
    for name, (short, _) in _HASHES.items():
        if name in names:
            _add_letters(found, short, values=[each[name] for each in facts])
    every = [(*map(str, each.values()), *map(str, by)) for each, by in zip(found, searched, strict=True)]
    alike = [each if every.count(values) > 1 else None for each, values in zip(settings, every, strict=True)]
    paths = [each.path if each else "" for each in alike]
    if len({*paths} - {""}) < len(alike) - alike.count(None):
        _add_letters(found, "setting", values=[each.id if each else "" for each in alike])
    elif any(paths):
        found = [{**each, "data.path": path} for each, path in zip(found, paths, strict=True)]
    return found


def name_apart(records: Collection[Record]) -> list[str]:
    """Return each record's run id, and in brackets what distinguishes its setting; all are of one task."""
    apart = tell_apart([Setting.of(record) for record in records])
    return [f"{record.run_id} ({show_words(words)})" for record, words in zip(records, apart, strict=True)]


def _differing(every: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the facts that differ, by name; empty text is unknown, and differs from nothing."""
    names = dict.fromkeys(name for facts in every for name in facts)
    values = {name: tuple(facts.get(name) for facts in every) for name in names}
    found = {name: each for name, each in values.items() if len({str(value) for value in each} - {""}) > 1}
    explained = [name for name, (_, why) in _HASHES.items() if not found.keys().isdisjoint(why)]
    return {name: each for name, each in found.items() if name not in explained}


def _add_letters(found: Iterable[dict[str, Any]], name: str, *, values: Sequence[str]) -> None:
    order = [*dict.fromkeys(value for value in values if value)]
    for each, value in zip(found, values, strict=True):
        number = order.index(value) if value else 0
        each[name] = value and (chr(ord("A") + number) if number < 26 else str(number + 1))


def sort_place(values: Mapping[str, Any]) -> list[tuple[bool, bool, bool, float, str]]:
    """Return the key that sorts settings by what distinguishes them: numbers by size, null last."""
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return [
        (value != _FIRST.get(name, value), value is None, name not in numbers, numbers.get(name, 0), str(value))
        for name, value in values.items()
    ]


def short_name(name: str) -> str:
    """Return the last part of a key, as columns name it; all of a peft key: its last part may be a trainer key."""
    return name if name.startswith("peft.") else name.rpartition(".")[2]


def show_value(value: Any) -> str:
    """Write a value for people, in a form that a command accepts: small numbers as 1e-4."""
    if isinstance(value, float) and 0 < abs(value) < 0.001:
        return re.sub(r"\.?0*e-0?", "e-", f"{value:e}")
    return override_value(value) if not isinstance(value, str) else value


def show_words(values: Mapping[str, Any]) -> str:
    """Write what distinguishes a setting: `learning_rate=1e-4, epochs=3`."""
    return ", ".join(f"{short_name(name)}={show_value(value)}" for name, value in values.items() if value != "")


def override_word(key: str, value: Any) -> str:
    """Return `KEY=VALUE` in the grammar of the command line."""
    return f"{key}={override_value(value)}"


def override_value(value: Any) -> str:
    """Write a value in the grammar of the command line: a word, a number, a list of them, or null."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(override_value, value))}]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _MEANINGFUL else quote_value(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
