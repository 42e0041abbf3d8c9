"""Hostile trials, generated from a seed: `python -m tests.support.hostile [--trials N] [--seed S] [--only NUMBER]`.

Each trial spoils a copy of a small world (results, data, an encoder, configuration files) or the command line, runs a
command in a forked process, and judges it by rules: a documented exit code, a message of at most three lines and 600
characters, no traceback, no unforeseen error, nothing changed outside of results_dir and the caches, no control
character on the terminal, and an end within two minutes.
"""

# ruff: noqa: T201, RUF005

import argparse
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import glue_bench

CODES = {0, 1, 2, 3, 4, 74, 75}
SECONDS = 120.0
OWN = ("results", "cache", "hf_home")  # the folders in which a command may write
ENCODER = ["encoder=custom", "encoder.path=encoder", "encoder.name=tiny"]
SETTING = [*ENCODER, "data=local", "data.path=glue", "trainer.epochs=1", "trainer.device=cpu", "save_model=true"]
FORMATS = ("console", "markdown", "html", "latex", "csv", "json")
SCALARS: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        5,
        2**31,
        2**63,
        10**25,
        0.5,
        -0.0,
        1e308,
        "",
        " ",
        ".",
        "..",
        "/",
        "x",
        "x" * 5000,
        "NaN",
        "²",
        "٣",
    ),
    *(
        "../../canary",
        "/etc/passwd",
        "a\0b",
        "\x1b[31mred\x07",
        "line\nbreak",
        "\u202eright",
        "a,b",
        "=1+1",
        "${oc.env:SECRET}",
    ),
    *(
        [],
        {},
        [[1]],
        [None],
        {"a": 1},
        {"": {"": []}},
        ["a", 1],
        [1, 1],
        -(10**400),
        float("inf"),
        float("nan"),
        "\ud800",
    ),
]


@dataclass
class Trial:
    """A command in a spoilt world."""

    rng: random.Random
    world: Path
    words: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # other paths that it may write
    about: str = ""

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


def records(trial: Trial) -> None:
    rewrite(trial.find("results/runs/*/*/*/record.json"), trial)
    trial.words = trial.command()


def files(trial: Trial) -> None:
    spoil_file(trial.find("results/runs/*/*/*/**/*"), trial)
    trial.words = trial.command()


def folders(trial: Trial) -> None:
    """Copy, rename or link run folders and what is in them."""
    run = trial.find("results/runs/tiny/*/*/record.json").parent
    name = trial.rng.choice([f"{run.name} copy", "seed9-000000000000", "x\x1b[31m", "a\nb", "é" * 80, ".hidden"])
    way = trial.rng.choice(["copy", "rename", "link", "model", "snapshots", "predictions"])
    if way in ("copy", "rename"):
        (shutil.copytree if way == "copy" else shutil.move)(run, run.with_name(name))
    elif way == "link":
        run.with_name(name).symlink_to(trial.world / "canary")
    else:
        target = run / way
        shutil.rmtree(target, ignore_errors=True)
        target.symlink_to(trial.world / "canary")
    trial.about, trial.words = f" {run.name} {way} {name!r}", trial.command()


def plans(trial: Trial) -> None:
    rewrite(trial.world / "plan.jsonl", trial, lines=True)
    trial.words = ["sweep", "--plan", "plan.jsonl", "--index", trial.rng.choice(["0", "1", "-1", "9" * 30])]


def leases(trial: Trial) -> None:
    run = trial.find("results/runs/tiny/rte/*/record.json").parent
    (run / "record.json").unlink()
    path = run / f"claim-{trial.rng.choice(['1', '7', '0', '²', 'x', '9' * 30, '00003'])}.json"
    owner: dict[str, Any] = {
        "host": "h",
        "process": 1,
        "machine": "m",
        "started": "1",
        "nonce": "n",
        "phase": "",
        "step": 0,
    }
    path.write_text(json.dumps(owner))
    rewrite(path, trial) if trial.rng.random() < 0.6 else spoil_file(path, trial)
    if path.is_file() and not path.is_symlink():
        then = time.time() + trial.rng.choice([-(10**6), 10**6, -300])
        os.utime(path, (then, then))
    trial.words = ["run", "task=rte", *SETTING] if trial.rng.random() < 0.5 else trial.command()


def snapshots(trial: Trial) -> None:
    run = trial.find("results/runs/tiny/rte/*/record.json").parent
    shutil.copytree(trial.world / "snapshots", run / "snapshots")
    (run / "record.json").unlink()
    (step,) = (run / "snapshots").glob("step-*")
    if (way := trial.rng.random()) < 0.3:
        name = trial.rng.choice(["step-3.bak", "step-x", "step-²", "step--5", "step-" + "9" * 30, "step-"])
        step.rename(step.with_name(name))
        trial.about = f" {name}"
    elif way < 0.6:
        spoil_file(trial.rng.choice(sorted(step.iterdir())), trial)
    else:  # with right hashes
        from glue_bench.files import file_sha256

        rewrite(step / "facts.json", trial)
        manifest = json.loads((step / "manifest.json").read_text())
        manifest["sha256"]["facts.json"] = file_sha256(step / "facts.json")
        (step / "manifest.json").write_text(json.dumps(manifest))
    trial.words = ["run", "task=rte", *SETTING]


def published(trial: Trial) -> None:
    path = trial.world / "results" / "published" / "mine.json"
    rewrite(path, trial) if trial.rng.random() < 0.7 else spoil_file(path, trial)
    trial.words = ["report", "--format", trial.rng.choice(FORMATS)]


def baselines(trial: Trial) -> None:
    path = trial.world / "baseline.json"
    rewrite(path, trial) if trial.rng.random() < 0.7 else spoil_file(path, trial)
    trial.words = ["report", "--check", "baseline.json"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def configurations(trial: Trial) -> None:
    """Spoil a YAML file of --config-dir."""
    rng = trial.rng
    path = trial.find("my_conf/*/*.yaml")
    lines = path.read_text().splitlines()
    way = rng.choice(["value", "value", "value", "line", "key", "bomb", "nested", "file"])
    if way == "file":
        spoil_file(path, trial)
    else:
        place = rng.randrange(len(lines))
        key = lines[place].partition(":")[0]
        value = rng.choice(
            ["5", "null", "[a, [b]]", "{a: 1}", '"\\e[31m"', "${oc.env:SECRET}", ".nan", "-.inf", "'" + "x" * 3000]
        )
        value = rng.choice(
            [value, "1" * 5000, "!!python/object:os.system {}", "!!binary x", "*nowhere", "&a [*a]", "'../x'", "[]"]
        )
        other = rng.choice(
            ["cell: {a: 1}", "recipe_changes: {}", "hydra: {}", "defaults: [/x/y]", "_target_: os.system", "? [a]\n: b"]
        )
        made = {"value": f"{key}: {value}", "line": value, "key": other, "bomb": BOMB, "nested": "a: " + "[" * 100_000}[
            way
        ]
        lines[place] = made
        path.write_text("\n".join(lines) + "\n")
        trial.about = f" {path.name} {way}: {made:.80}"
    group, name = path.parent.name, path.stem
    chosen = [f"{group}={name}"] if group != "task" else ["task=mine"]
    base = [word for word in SETTING if not word.startswith(f"{group}") or group == "recipe"]
    words = ["run", *(["task=rte"] if group != "task" else []), *base, *chosen, "--config-dir", "my_conf"]
    trial.words = rng.choice([words, words, ["tasks", "--config-dir", "my_conf"]])


def arguments(trial: Trial) -> None:
    """Give keys odd values, and verbs odd options."""
    rng = trial.rng
    keys = [
        "trainer.epochs",
        "trainer.updates",
        "trainer.device",
        "trainer.betas",
        "trainer.max_length",
        "seed",
        "seeds",
        "tasks",
    ]
    keys += [
        "encoder.revision",
        "data.revision",
        "data.dataset",
        "encoder.hub_id",
        "executor.workers",
        "results_dir",
        "data.path",
    ]
    keys += [
        "encoder.name",
        "encoder.path",
        "encoder.package",
        "grid.epochs",
        "init",
        "recipe",
        "preset",
        "task",
        "holdout",
        "x.y",
    ]
    values = [
        "²",
        "--5",
        "٣",
        "[[0.9],1]",
        "9" * 400,
        "1e999",
        "nan",
        "null",
        "",
        "..",
        "../x",
        "/x",
        "~nosuchuser",
        "${oc.env:HOME}",
    ]
    values += [
        "a${b}c",
        "a\x1bb",
        "\x00"[:0] + "'",
        "[" * 3000,
        "{a:1}",
        "-1",
        "0",
        "cuda:99999999999",
        "true",
        "x" * 5000,
        "a:1",
        "loop/x",
    ]
    values += [
        "refs/../../x",
        "a b",
        "é",
        "\udc80",
        "/dev/null",
        "canary/notes.txt",
        "[1,[2]]",
        "1_000",
        "0x10",
        "glob(*)",
        "choice(1,2)",
    ]
    (trial.world / "loop").symlink_to("loop")
    words = [f"{key}={rng.choice(values)}" for key in rng.sample(keys, rng.choice([1, 1, 2]))]
    options = rng.choice(
        [[], [], [], ["--config-dir", rng.choice(["", "nowhere", "canary/notes.txt", "/"])], ["--debugg"], ["-m"]]
    )
    verb = rng.choice(["run", "run", "sweep", "report", "predict", "card", "submit", "compare", "doctor"])
    base = {
        "run": ["task=rte", *SETTING],
        "sweep": ["--dry-run", "executor=serial", *SETTING],
        "submit": ["build"],
    }.get(verb, [])
    trial.words, trial.about = [verb, *base, *words, *options], f" {words} {options}"
    # The folder that the command line names is the results' folder.
    trial.allowed = [value for word in words if (value := word.partition("=")[2]) and word.startswith("results_dir")]
    if verb == "run":
        trial.words.append("trainer.epochs=1") if not any(
            "epochs" in word or "updates" in word for word in words
        ) else None


def encoders(trial: Trial) -> None:
    rng, folder = trial.rng, trial.world / "encoder"
    way = rng.random()
    if way < 0.5:
        rewrite(folder / "config.json", trial)
    elif way < 0.75:
        content = json.loads((folder / "config.json").read_text())
        key = rng.choice(
            [
                "num_hidden_layers",
                "pad_token_id",
                "classifier_dropout",
                "hidden_size",
                "vocab_size",
                "attn_implementation",
            ]
        )
        key = rng.choice(
            [
                key,
                "_attn_implementation",
                "return_dict",
                "output_attentions",
                "quantization_config",
                "auto_map",
                "dtype",
            ]
        )
        content[key] = rng.choice(
            [0, -1, -5, 7, 10**6, "eager", "org/kernel", "flash_attention_2", {"a": "b"}, None, 0.5, True, []]
        )
        trial.about = f" {key}={content[key]!r}"
        (folder / "config.json").write_text(json.dumps(content))
    elif way < 0.9:
        name = rng.choice(["vocab.txt", "merges.txt", "spiece.model", "added_tokens.json", "special_tokens_map.json"])
        (folder / name).symlink_to(trial.world / "canary" / "notes.txt")
        trial.about = f" {name} is a link"
    else:
        spoil_file(rng.choice(sorted(folder.iterdir())), trial)
    trial.words = ["run", "task=rte", "seed=3", *SETTING]


def rows(trial: Trial) -> None:
    """Spoil a data file."""
    import pyarrow.parquet as pq

    rng, path = trial.rng, trial.find("glue/rte/*.parquet")
    columns: dict[str, Any] = pq.read_table(path).to_pydict()
    if rng.random() < 0.3:
        spoil_file(path, trial)
    else:
        name, row = rng.choice(list(columns)), rng.randrange(5)
        value = rng.choice([*SCALARS, "\x1b[31m", {"a": 1}, "label"])
        columns[name][row] = value
        path.unlink()
        kind = rng.choice(["jsonl", "csv", "tsv"])
        table = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        text = "".join(json.dumps(line) + "\n" for line in table)
        if kind != "jsonl":
            tab = "," if kind == "csv" else "\t"
            text = "".join(
                tab.join(str(cell) for cell in line) + "\n"
                for line in [list(columns), *zip(*columns.values(), strict=True)]
            )
        path.with_suffix(f".{kind}").write_text(text, errors="surrogatepass")
        trial.about = f" {kind} {name} = {value!r:.60}"
    trial.words = ["run", "task=rte", "seed=4", *SETTING]


def texts(trial: Trial) -> None:
    """Put control characters where a terminal would obey them."""
    path = trial.find("results/runs/tiny/*/*/record.json")
    content, evil = json.loads(path.read_text()), "\x1b]0;owned\x07\x1b[31m\r\n\u202e"
    holder, key = trial.rng.choice(
        [
            (content["config"]["task"], "title"),
            (content, "device"),
            (content, "recipe"),
            (content, "error"),
            (content["data"], "dataset"),
        ]
        + [
            (content, "ended"),
            (content["config"]["recipe_changes"], "epochs"),
            (content, "precision"),
            (content["encoder"], "hub_id"),
        ]
    )
    holder[key] = evil
    content["status"] = trial.rng.choice(["finished", "failed", "diverged"])
    path.write_text(json.dumps(content))
    trial.about, trial.words = f" {key}", trial.command()


GROUPS: dict[str, Callable[[Trial], None]] = {
    function.__name__: function
    for function in (records, files, folders, plans, leases, snapshots, published, baselines)
    + (configurations, arguments, encoders, rows, texts)
}


def make_world(folder: Path) -> None:
    """Make results of two encoders, data, configuration files, a plan, an earlier report and a snapshot."""
    from tests.support.tiny import make_local_glue, make_tiny_roberta

    make_tiny_roberta(folder / "encoder")
    make_tiny_roberta(folder / "other", seed=1)
    make_local_glue(folder / "glue")
    (folder / "canary").mkdir()
    (folder / "canary" / "notes.txt").write_text("mine\n")
    (folder / "canary" / "snapshots").mkdir()
    (folder / "home").mkdir()
    conf = folder / "my_conf"
    for name, text in {
        "task/mine.yaml": "name: mine\ntitle: Mine\nkind: classification\ntexts: [sentence1, sentence2]\n"
        "labels: [entailment, not_entailment]\nmetrics: [accuracy]\nvalidation: [validation]\n",
        "encoder/mine.yaml": "name: mine\npath: encoder\n",
        "preset/mine.yaml": "# @package _global_\ntrainer:\n  epochs: 1\nseeds: [1, 2]\n",
    }.items():
        (conf / name).parent.mkdir(parents=True, exist_ok=True)
        (conf / name).write_text(text)
    shutil.copytree(folder / "glue" / "rte", folder / "glue" / "mine")
    other = ["encoder.path=other" if word.startswith("encoder.path") else word for word in SETTING]
    for words in (
        ["sweep", "executor=serial", "tasks=[rte,stsb]", "seeds=[1,2]", *SETTING],
        ["sweep", "executor=serial", "tasks=[rte]", "seeds=[1,2]", *other, "encoder.name=other"],
        ["sweep", "--plan", "plan.jsonl", "tasks=[rte]", "seeds=[5,6]", *SETTING],
        ["report", "--format", "json", "--out", "baseline.json"],
    ):
        _prepare(words, folder)
    _prepare(["run", "task=rte", "seed=1", *SETTING, "results_dir=interrupted"], folder, interrupt=True)
    (step,) = (folder / "interrupted").rglob("step-*/")
    shutil.copytree(step, folder / "snapshots" / step.name)
    shutil.rmtree(folder / "interrupted")
    own = folder / "results" / "published" / "mine.json"
    own.parent.mkdir()
    score = {"task": "rte", "value": 50.0, "convention": "card", "metric": "accuracy", "split": "validation", "n": 277}
    content = {
        "title": "Mine",
        "hub_ids": ["me/mine"],
        "protocol": "",
        "convention_evidence": "",
        "decimals": 1,
        "runs": 1,
    }
    own.write_text(json.dumps({**content, "scores": [{**score, "source": "a paper", "note": ""}]}))


def _prepare(words: list[str], world: Path, *, interrupt: bool = False) -> None:
    """Run a command of the world's making; with `interrupt`, a signal stops it after its second update."""
    trial = Trial(rng=random.Random(0), world=world, words=words)
    code, _, err = carry_out(trial, world.parent, interrupt=interrupt)
    if code != (143 if interrupt else 0):
        raise RuntimeError(f"{words}: exit code {code}: {err[-2000:]}")


def _interrupt() -> None:
    from glue_bench.training.updates import Updates

    report = Updates.report

    def stop(self: Updates, *rest: Any, **more: Any) -> Any:
        if self.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return report(self, *rest, **more)

    Updates.report = stop  # type: ignore[method-assign]


def _environment(world: Path) -> dict[str, str]:
    own = {
        "HOME": world / "home",
        "HF_HOME": world / "hf_home",
        "GLUE_BENCH_CACHE": world / "cache",
        "SECRET": "hf_secret",
    }
    own |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": Path.cwd()}
    return {**os.environ, **{key: str(value) for key, value in own.items()}}


def picture(world: Path, allowed: list[str]) -> dict[str, str]:
    """Describe every file outside of the folders in which a command may write."""
    skip = {world / name for name in (*OWN, *allowed)}
    found = dict[str, str]()
    for folder, inner, names in os.walk(world):
        inner[:] = [name for name in inner if Path(folder, name) not in skip]
        for path in (Path(folder, name) for name in (*inner, *names)):
            if path not in skip:
                what = path.lstat()
                found[str(path.relative_to(world))] = (
                    f"{what.st_mode} {what.st_size} {what.st_mtime_ns if path.name not in inner else 0}"
                )
    return {name: what for name, what in found.items() if not Path(world, name).is_dir()}


def carry_out(trial: Trial, folder: Path, *, interrupt: bool = False) -> tuple[int | None, str, str]:
    """Run the command in a forked process; return its exit code (None: it did not end), stdout and stderr."""
    out, err = folder / "stdout", folder / "stderr"
    if (child := os.fork()) == 0:
        code = 99
        try:
            os.chdir(trial.world)
            os.environ.clear()
            os.environ.update(_environment(trial.world))
            for stream, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.argv = ["glue-bench", *trial.words]
            from glue_bench.cli import main

            importlib.import_module("glue_bench.runs.lease").BEAT_SECONDS = 0.5  # type: ignore[attr-defined]
            if interrupt:
                _interrupt()
            code = main(trial.words)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 98
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code, out.read_text(errors="replace"), err.read_text(errors="replace")
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None, out.read_text(errors="replace"), err.read_text(errors="replace")


def judge(trial: Trial, code: int | None, *, out: str, err: str, before: dict[str, str]) -> Iterator[str]:
    """Yield every rule that the command broke."""
    if code is None:
        yield f"no end within {SECONDS:.0f} seconds"
    elif code not in CODES:
        yield f"exit code {code}"
    if "internal error" in err or "Traceback" in err or "Exception ignored" in err:
        yield "an unforeseen error"
    for log in trial.world.glob("results/runs/*/*/*/error.log"):
        yield f"a run failed with {log.read_text().strip().splitlines()[-1][:150]}"
    said = [line for line in err.splitlines() if line.startswith("glue-bench: ")]
    if any(len(line) > 650 for line in err.splitlines()):
        yield "a line of more than 600 characters"
    if code in (2, 3, 4, 74) and trial.words[0] not in ("doctor", "submit"):
        last = err[err.rfind("\nglue-bench: ") + 1 :] if said else ""
        if not said or len(last.splitlines()) > 3 or "warning" in last[:25]:
            yield f"a message of {len(last.splitlines())} lines"
    if any(ord(char) < 32 and char not in "\n\t" for char in out + err) or "\u202e" in err:
        yield "a control character"
    if "hf_secret" in out + err:
        yield "the environment's secret"
    after = picture(trial.world, trial.allowed)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            did = "deleted" if name not in after else "changed" if name in before else "made"
            yield f"{name} was {did}"


def load() -> None:
    """Load what the commands need, once for every trial; one thread, because a forked process has no others."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for module in pkgutil.walk_packages(glue_bench.__path__, "glue_bench."):
        if not module.name.endswith(("__main__", "probe")):
            importlib.import_module(module.name)
    importlib.import_module("transformers.models.roberta.modeling_roberta")


def main() -> int:
    """Make the trials, print what failed and the counts by group; return 1 if a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1040)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one trial, shown whole")
    parser.add_argument("--group", choices=GROUPS)
    chosen = parser.parse_args()
    names = [chosen.group] if chosen.group else list(GROUPS)
    counts, failed, began = Counter[str](), defaultdict[str, list[int]](list), time.monotonic()
    seconds = defaultdict[str, float](float)
    with tempfile.TemporaryDirectory(prefix="hostile-") as made:
        base = Path(made) / "base"
        base.mkdir()
        load()
        make_world(base)
        for number in range(chosen.trials) if chosen.only is None else [chosen.only]:
            group = names[number % len(names)]
            folder = Path(made) / "trial"
            shutil.copytree(base, folder / "world", symlinks=True)
            trial = Trial(rng=random.Random(f"{chosen.seed} {group} {number}"), world=folder / "world")
            GROUPS[group](trial)
            before = picture(trial.world, trial.allowed)
            start = time.monotonic()
            code, out, err = carry_out(trial, folder)
            seconds[group] += time.monotonic() - start
            broken = list(judge(trial, code, out=out, err=err, before=before))
            counts[group] += 1
            if broken or chosen.only is not None:
                failed[group] += [number] * bool(broken)
                last = (err.strip().splitlines() or [""])[-1]
                print(
                    f"{number} {group}:{trial.about}\n    {' '.join(trial.words)[:300]}\n    {'; '.join(broken)[:400]}"
                )
                print(f"    exit code {code}: {err if chosen.only is not None else last[:300]}", flush=True)
            shutil.rmtree(folder)
    for group, count in counts.items():
        each = f"{seconds[group] / count:.1f} s each"
        print(f"{group:16}{count:6} trials{len(failed[group]):6} failed {failed[group][:12] or ''} {each}")
    print(f"{counts.total()} trials, {sum(map(len, failed.values()))} failed, {time.monotonic() - began:.0f} s")
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main())
