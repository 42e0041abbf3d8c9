"""The setting of a run: everything in which two rows of a table can differ. Knows no scores."""

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from glue_bench.config.keys import NOT_IN_IDENTITY, keys_of
from glue_bench.config.peft import PEFT, PEFT_KEYS
from glue_bench.config.schema import LATER, WAYS, TrainerConfig, without_effect
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
_SECTION = ("encoder", "encoder.hub_id", "encoder.revision", "data", "data.revision", "recipe")
_INPUTS = ("encoder.weights_sha256", "data.fingerprint", "precision", "engine", "products")  # known once they are read
_SMALL = 0.001  # numbers below are shown as 1e-4

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_MEANINGFUL = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A run's configuration without its seed. Runs of one setting may be averaged.

    Equal settings agree in every field but `grid`: the same cell may belong to a narrower and to a wider grid.
    """

    # Every value in which two settings can differ, by the name that users know. Empty text: unknown, as in a run that
    # failed before it had read its inputs.
    facts: Mapping[str, Any] = field(hash=False)
    data: str = ""  # in words: `nyu-mll/glue on the hub`
    id: str = ""  # the record's setting_id
    recipe_changes: Mapping[str, str] = field(default_factory=dict, hash=False)  # values that are not the recipe's
    usual_start: bool = field(default=True, compare=False)  # whether the task's init_from has it
    cell: Mapping[str, Any] = field(default_factory=dict, hash=False)  # trainer values from a grid
    grid: Mapping[str, list[Any]] = field(default_factory=dict, compare=False)  # trainer key to the values to try
    path: str = field(default="", compare=False)  # of local rows: says which of two files with the same rows it was

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return the setting of a record."""
        config, data, encoder, init = record.config, record.data, record.encoder, record.init_kind
        words = {"hub": f"{data.get('dataset')} on the hub", "local": "local files", "sample": "sample data"}
        trainer = {key: value for key, value in {**LATER, **config["trainer"]}.items() if key not in EXECUTION}
        # Older records of runs that start from another run hold the hash of that run's weights in its place.
        weights = encoder.get("weights_sha256") if init == "pretrained" or "init_sha256" in encoder else ""
        peft = {"method": "none", **(config.get("peft") or {})}
        own = PEFT_KEYS[peft["method"]]  # other keys of peft are unknown
        facts = {
            "encoder": encoder["name"],
            "encoder.hub_id": encoder.get("hub_id") or "",
            "encoder.revision": encoder.get("revision") or "",
            "task": record.task,
            "data": data["source"],
            "data.revision": data.get("revision") or "",
            "recipe": record.recipe,
            "init": init,  # pretrained, or the task that the initial weights were fine-tuned on
            "init_seed": config.get("init_seed") if init != "pretrained" else None,  # None: of its own seed
            "init_seeds": ", ".join(map(str, config.get("init_seeds") or ())) or None,  # that it is chosen among
            **{name: config.get(name, usual) for name, usual in WAYS.items()},
            "peft": peft["method"],
            **{f"peft.{name}": peft.get(name, usual) if name in own else "" for name, usual in PEFT.items()},
            **{f"trainer.{key}": value for key, value in trainer.items()},
            "selection": record.selection,
            "holdout": config.get("holdout") if record.selection == "holdout" else None,
            **{f"data.{key}": config["data"].get(key, usual) for key, usual in LIMITS.items()},
            "data.fingerprint": data.get("fingerprint") or "",  # of all texts and labels
            "precision": record.precision,  # in which the run computed, whatever trainer.precision asked for
            "engine": record.engine if trainer.get("engine") == "auto" else "",  # another version may choose another
            "products": record.ways[-1] if trainer["products"] == "auto" else "",  # which depends on the machine
            "encoder.weights_sha256": (weights or "")[:12],
        }
        absent = [name for name in ("init_seed", "init_seeds", "holdout") if facts[name] is None]
        return cls(
            facts={name: value for name, value in facts.items() if name not in absent},
            data=words[data["source"]],
            id=record.setting_id,
            recipe_changes=dict(config.get("recipe_changes") or {}),
            usual_start=init in config["task"].get("init_from", ()),
            cell=dict(config.get("cell") or {}),
            grid=dict(config.get("grid") or {}),
            path=str(config["data"].get("path") or ""),
        )

    @property
    def section(self) -> tuple[str, ...]:
        """What the rows of one section of the report have in common."""
        return tuple(self.facts[name] for name in _SECTION)

    @property
    def searched(self) -> list[str]:
        """The facts whose value comes from a grid."""
        return [f"trainer.{key}" for key in self.cell if key not in self.recipe_changes]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What only a run that has read its inputs knows."""
        return tuple(self.facts[name] for name in _INPUTS)

    @property
    def trainer(self) -> dict[str, Any]:
        """The trainer's values that can change a score."""
        return {name.removeprefix("trainer."): self.facts[name] for name in self.facts if name.startswith("trainer.")}

    def difference(self, *others: Self, but: Collection[str] = ()) -> dict[str, tuple[Any, ...]]:
        """Return the facts in which this setting and the others differ: name to each one's value, this one's first.

        Facts in `but` are left out, and a hash where another fact explains why it differs.
        """
        found = _differing([setting.facts for setting in (self, *others)])
        return {name: values for name, values in found.items() if name not in but}

    @property
    def way_words(self) -> list[str]:
        """The KEY=VALUE words for what is trained, where it is not the usual."""
        values = {name: self.facts.get(name, "") for name in USUAL_WAYS}
        return [override_word(name, value) for name, value in values.items() if value not in ("", USUAL_WAYS[name])]

    @property
    def method(self) -> str:
        """What is trained, as published rows name it: full, a method of peft, or what is frozen."""
        return next((word.removeprefix("peft=") for word in self.way_words if not word.startswith("head=")), "full")

    def words(self) -> list[str]:
        """Return the KEY=VALUE words for recipe, init, what is trained, selection, grid and changed trainer values."""
        known, trainer = self.facts, self.trainer
        words = [override_word("recipe", known["recipe"])]
        chain = [known["task"], *known["init"].split(" from ")]
        start = known["init"] if self.usual_start else f"{{{','.join(map(':'.join, itertools.pairwise(chain)))}}}"
        words += [f"init={start}"] if known["init"] != "pretrained" else []
        words += [f"init_seed={known['init_seed']}"] if "init_seed" in known else []
        words += self.way_words
        words += [f"selection={known['selection']}"]  # always, because a recipe may set it
        words += [override_word("holdout", known["holdout"])] if "holdout" in known else []
        words += [override_word(f"grid.{key}", values) for key, values in self.grid.items()]
        changed = dict.fromkeys([*self.recipe_changes, *self.cell])
        keys = [key for key in changed if key in trainer and key not in without_effect(trainer)]
        return words + [override_word(f"trainer.{key}", trainer[key]) for key in keys]

    def as_cell(self, keys: Iterable[str]) -> Self:
        """Return the same values as a cell of a grid of these trainer keys."""
        cell = {key: self.facts.get(f"trainer.{key}") for key in keys}
        changes = {key: value for key, value in self.recipe_changes.items() if key not in cell}
        return dataclasses.replace(self, cell=cell, recipe_changes=changes)

    def without_cell(self) -> Self:
        """Return what all cells of a grid share, without inputs, which a cell without a finished run does not know."""
        facts = {**self.facts, **dict.fromkeys([*_INPUTS, *(f"trainer.{key}" for key in self.cell)], "")}
        return dataclasses.replace(self, id="", facts=facts, cell=dict.fromkeys(sorted(self.cell)))


def tell_apart(settings: Sequence[Setting], *, chosen: Sequence[Collection[str]] = ()) -> list[dict[str, Any]]:
    """Return what distinguishes each of these settings of one task: the facts in which they differ, by their names.

    Letters stand for hashes, and for settings that differ in nothing that has a name, nor in the folder of their rows.
    `chosen` are, for each setting, the facts whose value a search chose: two searches do not differ in them.
    """
    facts = [setting.facts for setting in settings]
    searched = chosen or [()] * len(facts)
    names = _differing([{**each, **dict.fromkeys(by, "chosen")} for each, by in zip(facts, searched, strict=True)])
    if "recipe" in names:  # which explains its own values
        own = {f"trainer.{key}" for each in settings for key in (*each.recipe_changes, *each.cell)}
        names = {name: values for name, values in names.items() if not name.startswith("trainer.") or name in own}
    found = [{name: each.get(name) for name in names if name not in _HASHES} for each in facts]
    for name, (short, _) in _HASHES.items():
        if name in names:
            _add_letters(found, short, values=[each[name] for each in facts])
    every = [(*map(str, each.values()), *map(str, by)) for each, by in zip(found, searched, strict=True)]
    if len({*every}) < len(every):
        alike = [every.count(values) > 1 for values in every]
        paths = [each.path if one else "" for each, one in zip(settings, alike, strict=True)]
        if len({*filter(None, paths)}) == sum(alike):
            for each, path in zip(found, paths, strict=True):
                each["data.path"] = path
        else:
            ids = [each.id if one else "" for each, one in zip(settings, alike, strict=True)]
            _add_letters(found, "setting", values=ids)
    return found


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
        number = order.index(value) if value else -1
        each[name] = "" if number < 0 else chr(ord("A") + number) if number < 26 else str(number + 1)


def sort_place(values: Mapping[str, Any]) -> list[tuple[bool, bool, bool, float, str]]:
    """Return the key that sorts settings by what distinguishes them: numbers by size, null last."""
    places = []
    for name, value in values.items():
        number = value if isinstance(value, int | float) else None
        places.append((value != _FIRST.get(name, value), value is None, number is None, number or 0, str(value)))
    return places


def short_name(name: str) -> str:
    """Return the last part of a key, as columns name it; all of one of peft's, which may be the trainer's, too."""
    return name if name.startswith("peft.") else name.rpartition(".")[2]


def show_value(value: Any) -> str:
    """Write a value for people, such that a command takes it: small numbers as 1e-4."""
    if isinstance(value, float) and 0 < abs(value) < _SMALL:
        digits, _, power = f"{value:e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return override_value(value) if not isinstance(value, str) else value


def show_words(values: Mapping[str, Any]) -> str:
    """Write what distinguishes a setting: `learning_rate=1e-4, epochs=3`."""
    return ", ".join(f"{short_name(name)}={show_value(value)}" for name, value in values.items() if value != "")


def override_word(key: str, value: Any) -> str:
    """Return `KEY=VALUE` in the grammar of the command line."""
    return f"{key}={override_value(value)}"


def override_value(value: Any) -> str:
    """Write a value in the grammar of the command line: a word, a number, a list of them, or null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(override_value(item) for item in value)}]"
    text = str(value)
    plain = not isinstance(value, str) or (_PLAIN.fullmatch(text) and text.lower() not in _MEANINGFUL)
    return text if plain else quote_value(text)
