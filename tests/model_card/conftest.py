"""Finished runs with weights."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """Copy the results, so that a test may damage them."""
    return Path(shutil.copytree(trained, tmp_path / "results"))
