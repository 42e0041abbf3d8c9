"""The page docs/configuration.md: every key with its type, default and meaning.

python -m tests.support.configuration_page        writes the page
"""

import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from glue_bench.config import conf_folder, group_options
from glue_bench.config.compose import compose_keys
from glue_bench.config.keys import SCALARS, Key, keys_of, shown, walk
from glue_bench.config.overrides import GROUPS
from glue_bench.config.schema import LATER, SweepConfig, TrainerConfig

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_MANY = {int: "whole numbers", float: "numbers", str: "text values"}
_HEAD = f"""\
# Every configuration key

Written by `python -m tests.support.configuration_page` from the schema and `conf/`; a test keeps the page up to date.

A key is set on the command line as `KEY=VALUE`, or in a file of your own that `--config-dir FOLDER` adds. The defaults
below are those of `glue-bench sweep` without arguments. A list is written `[A,B]`; `null` means "not given".
A number is at most {SCALARS[float].most:,} and, unless it is 0, at least {SCALARS[float].least:g} in size; a whole
number at most {SCALARS[int].most:,}.
"""


def render_page() -> str:
    """Render the page's Markdown."""
    parts = [
        _HEAD,
        "## Groups",
        "",
        "`GROUP=NAME` chooses a file of `conf/GROUP/`, which sets several keys at once.",
        "",
    ]
    parts += _table("group", "names", rows=[(f"`{group}`", ", ".join(group_options(group))) for group in GROUPS])
    defaults, keys = compose_keys(["task=mnli"]), list(walk(SweepConfig))
    for title, chosen in _sections(keys):
        parts += ["", f"## {title}", ""]
        rows = [(f"`{key.name}`", _type(key.hint), _default(key, defaults), _meaning(key)) for key in chosen]
        parts += _table("key", "type", "default", "meaning", rows=rows)
    recipes = group_options("recipe")
    values = {name: compose_keys(["task=mnli", f"recipe={name}"]).trainer for name in recipes}
    parts += [
        "",
        "## What the recipes set",
        "",
        "For MNLI; `conf/recipe/RECIPE/TASK.yaml` changes some of it for a task.",
        "",
    ]
    recipe_rows = [
        (f"`trainer.{key}`", *(shown(getattr(values[name], key)) for name in recipes))
        for key in keys_of(TrainerConfig, "scores")
        if any(getattr(values[name], key) != LATER.get(key, ...) for name in recipes)
    ]
    return "\n".join([*parts, *_table("key", *recipes, rows=recipe_rows), ""])


def _sections(keys: list[Key]) -> Iterator[tuple[str, list[Key]]]:
    """Yield the keys of the command line, those of its groups, and a task's keys, which only its file sets."""
    yield "Runs and sweeps", [key for key in keys if "." not in key.name]
    for group in ("data", "encoder", "trainer", "peft", "executor"):
        yield f"`{group}`", [key for key in keys if key.name.startswith(f"{group}.")]
    yield "`task`: set by conf/task/NAME.yaml only", [key for key in keys if key.name.startswith("task.")]


def _type(hint: Any) -> str:
    if get_origin(hint) in (types.UnionType, Union):
        return " or ".join("null" if kind is types.NoneType else _type(kind) for kind in get_args(hint))
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(args)
    if origin is list:
        return f"list of {_MANY.get(args[0]) or _type(args[0])}"
    if origin is dict:
        return f"mapping of {'names' if args[0] is str else _type(args[0])} to {_MANY.get(args[1]) or 'lists'}"
    return SCALARS[hint].words if hint in SCALARS else "any"


def _default(key: Key, defaults: SweepConfig) -> str:
    if key.name.startswith("task."):
        return "required" if key.default() is MISSING else f"`{_written(key.default())}`"
    value: Any = defaults
    for part in key.name.split("."):
        value = getattr(value, part)
    recipe = key.name.removeprefix("trainer.") in _recipe_keys() and key.name.startswith("trainer.")
    return f"`{_written(value)}`{' (set by the recipe)' if recipe else ''}"


def _recipe_keys() -> set[str]:
    """Return the trainer keys that conf/trainer/ leaves to the recipe."""
    lines = (conf_folder() / "trainer" / "default.yaml").read_text(encoding="utf-8").splitlines()
    return {*keys_of(TrainerConfig, "scores")} - {line.partition(":")[0] for line in lines}


def _written(value: Any) -> str:
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list) else shown(value)


def _meaning(key: Key) -> str:
    must = f"; must be {key.must.words}" if key.must and key.must.words != "given" else ""
    return f"{key.meaning}{must}{' (also a `grid` key)' if key.grid else ''}"


def _table(*headers: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headers, ("---",) * len(headers), *rows)]


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
