"""A trial: a command in a spoilt world. And the ways of spoiling a file that every group uses."""

import functools
import json
import math
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ENCODER = ["encoder=custom", "encoder.path=encoder", "encoder.name=tiny"]
SETTING = [*ENCODER, "data=local", "data.path=glue", "trainer.epochs=1", "trainer.device=cpu", "save_model=true"]
FORMATS = ("console", "markdown", "html", "latex", "csv", "json")
EVIL = "\x1b]0;owned\x07\x1b[31m\r\n\u202e"
_NUMBERS: list[Any] = [0, -1, 5, 2**31, 2**63, 10**25, -(10**400), 0.5, -0.0, 1e308, float("inf"), float("nan")]
_TEXTS: list[Any] = ["", " ", ".", "..", "/", "x", "x" * 5000, "NaN", "\u00b2", "\u0663", "../../canary", "/etc/passwd"]
_TEXTS += ["a\0b", "\x1b[31mred\x07", "line\nbreak", "\u202eright", "a,b", "=1+1", "${oc.env:SECRET}", "\ud800"]
_HOLDERS: list[Any] = [[], {}, [[1]], [None], {"a": 1}, {"": {"": []}}, ["a", 1], [1, 1]]
SCALARS: list[Any] = [None, True, *_NUMBERS, *_TEXTS, *_HOLDERS]


@dataclass
class Trial:
    """A command in a spoilt world."""

    rng: random.Random
    world: Path
    words: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # other paths that it may write
    about: str = ""
    trains: bool = False  # whether a command that succeeds leaves a new record

    def any_scalar(self) -> Any:
        return self.rng.choice(SCALARS)

    def find(self, pattern: str) -> Path:
        return self.rng.choice(sorted(path for path in self.world.glob(pattern) if not path.is_dir()))

    def command(self) -> list[str]:
        """Choose a command that reads results."""
        out = self.rng.choice(["--format"] * 3 + [""])
        words = {
            "report": ["report", *([out, self.rng.choice(FORMATS)] if out else [])],
            "compare": ["compare", "tiny", "other"],
            "dry": ["sweep", "--dry-run", "executor=serial", "tasks=[rte,stsb]", "seeds=[1,2]", *SETTING],
            "sweep": ["sweep", "executor=serial", "tasks=[rte]", "seeds=[1]", *SETTING],
            "run": ["run", "task=rte", *SETTING],
            "card": ["card", "task=rte", "seed=1"],
            "predict": ["predict", "task=rte", "seed=1", "--text", "A cat.", "--text", "A dog."],
            "submit": ["submit", "build", "--fill", "wnli", "encoder=tiny"],
            "check": ["report", "--check", "baseline.json"],
            "plan": ["sweep", "--plan", "plan.jsonl", "--index", "0"],
        }
        return words[self.rng.choice(sorted(words))]


def spoil_json(content: Any, rng: random.Random) -> str:
    """Replace, remove or add something in one place; return the path."""
    path, holder = "", content
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return path
        key = rng.choice(keys)
        path += f".{key}"
        if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.75:
            holder = holder[key]
            continue
        way = rng.random()
        if way < 0.15 and isinstance(holder, dict):
            del holder[key]
        elif way < 0.25 and isinstance(holder, dict):
            holder[rng.choice(["x" * 300, "", "../x", "\x1b[2J"])] = holder[key]
        else:
            holder[key] = rng.choice(SCALARS)
        return f"{path} = {holder.get(key, 'gone') if isinstance(holder, dict) else holder[key]!r:.60}"


def rewrite(path: Path, trial: Trial, *, lines: bool = False) -> None:
    """Spoil a JSON file in one or two places."""
    contents = [json.loads(line) for line in path.read_text().splitlines()] if lines else [json.loads(path.read_text())]
    for _ in range(trial.rng.choice([1, 1, 2])):
        trial.about += f" {path.name}{spoil_json(trial.rng.choice(contents), trial.rng)}"
    path.write_text("\n".join(json.dumps(content, indent=None if lines else 1) for content in contents) + "\n")


def transplant(contents: list[Any], rng: random.Random) -> str:
    """Replace a value of the first by that of the last in the same place; return the path."""
    path, holder, other = "", contents[0], contents[-1]
    while keys := [key for key in holder if key in other and holder[key] != other[key]]:
        path += f".{(key := rng.choice(keys))}"
        if isinstance(holder[key], dict) and isinstance(other[key], dict) and rng.random() < 0.75:
            holder, other = holder[key], other[key]
            continue
        holder[key] = other[key]
    return f"{path} of another"


def spoil_tensors(path: Path, trial: Trial) -> None:
    """Replace, remove or add tensors of a file of safetensors: one, or all of a kind."""
    rng, tensors = trial.rng, load_file(path)
    first = rng.choice(sorted(tensors))
    kind = rng.choice([first, first[: rng.randrange(1, len(first))], ""])
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        **{str(value): functools.partial(torch.full_like, fill_value=value) for value in (math.nan, -1.0, 0.0, 1e30)},
        "one": lambda old: old.flatten()[:1].clone(),
        "flat": lambda old: old.flatten(),
        "int8": lambda old: old.to(torch.int8),
        "float64": lambda old: old.double(),
    }
    way = rng.choice([*sorted(ways), "gone", "added"])
    for name in [name for name in tensors if name.startswith(kind)]:
        if way in ways:
            tensors[name] = ways[way](tensors[name])
        else:
            value = tensors.pop(name)
            tensors |= {f"{name}.x": value, name: value.clone()} if way == "added" else {}
    save_file(tensors, path)
    trial.about += f" {path.name} {kind}*: {way}"


def spoil_file(path: Path, trial: Trial) -> None:
    """Put something else in a file's place."""
    canary, rng = trial.world / "canary" / "notes.txt", trial.rng
    old = path.read_bytes() if path.is_file() else b""
    ways: dict[str, Callable[[], Any]] = {
        "nested": lambda: path.write_bytes(b"[" * 100_000),
        "deep": lambda: path.write_bytes(b'{"a":' * 50_000),
        "huge number": lambda: path.write_bytes(b'{"schema_version": ' + b"9" * 5000 + b"}"),
        "infinite": lambda: path.write_bytes(b'{"step": 1e999, "loss": NaN}\n'),
        "empty": lambda: path.write_bytes(b""),
        "cut": lambda: path.write_bytes(old[: len(old) // 2]),
        "noise": lambda: path.write_bytes(rng.randbytes(500)),
        "flipped": lambda: path.write_bytes(bytes(b ^ (rng.random() < 0.01) for b in old)),
        "pipe": lambda: os.mkfifo(path),
        "folder": lambda: path.mkdir(),
        "link": lambda: path.symlink_to(canary),
        "dangling": lambda: path.symlink_to("nowhere"),
        "loop": lambda: path.symlink_to(path.name),
        "device": lambda: path.symlink_to("/dev/zero"),
        "large": lambda: path.write_bytes(bytes(70 * 2**20)),
    }
    way = rng.choice(sorted(ways))
    trial.about += f" {path.relative_to(trial.world)}: {way}"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    ways[way]()
