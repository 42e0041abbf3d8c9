"""What reports are compared with: published numbers and an earlier report."""

from pathlib import Path

from tests.support.hostile.trial import FORMATS, Trial, rewrite, spoil_file


def published(trial: Trial) -> None:
    _spoil(trial.world / "results" / "published" / "mine.json", trial)
    trial.words = ["report", "--format", trial.rng.choice(FORMATS)]


def baselines(trial: Trial) -> None:
    _spoil(trial.world / "baseline.json", trial)
    trial.words = ["report", "--check", "baseline.json"]


def _spoil(path: Path, trial: Trial) -> None:
    rewrite(path, trial) if trial.rng.random() < 0.7 else spoil_file(path, trial)
