"""The world of a trial: how it is made, how a command is carried out in it, and what it looks like afterwards."""

import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.support.hostile.trial import SETTING, Trial
from tests.support.processor import slowness
from tests.support.tiny import make_local_glue, make_tiny_roberta

SECONDS = 120.0  # that a command may take
_OWN = ("results", "cache", "hf_home")  # the folders in which a command may write


def make_world(folder: Path) -> None:
    """Make results of two encoders, data, configuration files, a plan, an earlier report and a snapshot."""
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
        ["sweep", "--plan", "plan.jsonl", "tasks=[rte]", "seeds=[5,6]", "init={rte:mnli}", *SETTING],
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
    skip = {world / name for name in (*_OWN, *allowed)}
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
    until = time.monotonic() + SECONDS * slowness()
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code, out.read_text(errors="replace"), err.read_text(errors="replace")
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None, out.read_text(errors="replace"), err.read_text(errors="replace")
