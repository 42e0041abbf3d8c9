"""What a sweep in progress reads: plans, leases and snapshots."""

import json
import os
import shutil
import time

from glue_bench.files import file_sha256
from tests.support.hostile.trial import SETTING, Trial, rewrite, spoil_file, spoil_tensors, transplant


def plans(trial: Trial) -> None:
    path = trial.world / "plan.jsonl"
    if trial.rng.random() < 0.6:
        rewrite(path, trial, lines=True)
    else:
        contents = [json.loads(line) for line in path.read_text().splitlines()]
        trial.about = transplant(contents, trial.rng)
        path.write_text("".join(json.dumps(content) + "\n" for content in contents))
    trial.words = ["sweep", "--plan", "plan.jsonl", "--index", trial.rng.choice(["0", "1", "-1", "9" * 30])]


def leases(trial: Trial) -> None:
    run = trial.find("results/runs/tiny/rte/*/record.json").parent
    (run / "record.json").unlink()
    path = run / f"claim-{trial.rng.choice(['1', '7', '0', '²', 'x', '9' * 30, '00003'])}.json"
    owner = {"host": "h", "process": 1, "machine": "m", "started": "1", "nonce": "n", "phase": "", "step": 0}
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
    if (way := trial.rng.random()) < 0.2:
        name = trial.rng.choice(["step-3.bak", "step-x", "step-²", "step--5", "step-" + "9" * 30, "step-"])
        step.rename(step.with_name(name))
        trial.about = f" {name}"
    elif way < 0.4:
        spoil_file(trial.rng.choice(sorted(step.iterdir())), trial)
    else:  # with right hashes
        name = "facts.json" if way < 0.7 else "tensors.safetensors"
        rewrite(step / name, trial) if way < 0.7 else spoil_tensors(step / name, trial)
        manifest = json.loads((step / "manifest.json").read_text())
        manifest["sha256"][name] = file_sha256(step / name)
        (step / "manifest.json").write_text(json.dumps(manifest))
    trial.words, trial.trains = ["run", "task=rte", *SETTING], True
