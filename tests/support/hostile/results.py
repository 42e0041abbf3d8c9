"""What lies in the results folder: records, their files and folders, and texts that a terminal would obey."""

import json
import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from glue_bench.files import file_sha256
from tests.support.hostile.trial import EVIL, SETTING, Trial, rewrite, spoil_file, spoil_tensors


def records(trial: Trial) -> None:
    rewrite(trial.find("results/runs/*/*/*/record.json"), trial)
    trial.words = trial.command()


def predictions(trial: Trial) -> None:
    """Make other predictions than the data has rows, or of another kind, and let the record agree."""
    run = trial.find("results/runs/tiny/*/*/record.json").parent
    path, record = run / "predictions" / "validation.parquet", json.loads((run / "record.json").read_text())
    table: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    way = trial.rng.choice(["more", "fewer", "none", "twice", "huge", "texts", "column"])
    name = trial.rng.choice(sorted(table))
    if way in ("more", "fewer", "none", "twice"):
        count = {"more": 21, "fewer": 3, "none": 0, "twice": 40}[way]
        table = {key: (values * 2)[:count] for key, values in table.items()}
    elif way == "column":
        del table[name]
    else:
        table[name] = ["x"] * 20 if way == "texts" else [2**60] * 20
    pq.write_table(pa.table(table), path)
    record["data"]["rows"]["validation"] = len(next(iter(table.values())))
    record["predictions_sha256"]["validation"] = file_sha256(path)
    (run / "record.json").write_text(json.dumps(record))
    trial.about, trial.words = f" {run.name} {way} {name}", trial.command()


def files(trial: Trial) -> None:
    spoil_file(trial.find("results/runs/*/*/*/**/*"), trial)
    trial.words = trial.command()


def caches(trial: Trial) -> None:
    """Spoil what is kept to save time: numbers of reports and encoded rows."""
    path = trial.find("cache/**/*")
    rewrite(path, trial) if path.suffix == ".json" and trial.rng.random() < 0.6 else spoil_file(path, trial)
    trial.words = ["run", "task=rte", "seed=3", *SETTING] if "encoded" in path.parts else trial.command()
    trial.trains = "encoded" in path.parts


def models(trial: Trial) -> None:
    """Spoil kept weights and what lies beside them, or put those of another run there."""
    run = trial.find("results/runs/tiny/rte/*/record.json").parent
    way, path = trial.rng.random(), trial.rng.choice(sorted((run / "model").iterdir()))
    if way < 0.3:
        spoil_file(path, trial)
    elif way < 0.6:
        spoil_tensors(run / "model" / "model.safetensors", trial)
    elif way < 0.8:
        rewrite(trial.rng.choice(sorted((run / "model").glob("*.json"))), trial)
    else:
        other = trial.find(f"results/runs/*/rte/*/model/{path.name}")
        path.write_bytes(other.read_bytes())
        trial.about = f" {path.name} of {other.parent.parent.name}"
    choice = [word for word in ("predict", "card") for _ in range(2)]
    words = {verb: [verb, f"run_id={run.name}", "encoder=tiny"] for verb in choice}
    words["predict"] += ["--text", "A cat.", "--text", "A dog."]
    trial.words = words.get(trial.rng.choice([*choice, ""]), trial.command())


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


def texts(trial: Trial) -> None:
    """Put control characters where a terminal would obey them."""
    path = trial.find("results/runs/tiny/*/*/record.json")
    content = json.loads(path.read_text())
    places = [(content, key) for key in ("device", "recipe", "error", "ended", "precision")]
    places += [(content["config"]["task"], "title"), (content["config"]["recipe_changes"], "epochs")]
    holder, key = trial.rng.choice([*places, (content["data"], "dataset"), (content["encoder"], "hub_id")])
    holder[key] = EVIL
    content["status"] = trial.rng.choice(["finished", "failed", "diverged"])
    path.write_text(json.dumps(content))
    trial.about, trial.words = f" {key}", trial.command()
