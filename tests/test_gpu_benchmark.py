"""The measurements on a GPU, tried on a CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def measure(out: Path, *words: str, expected: int = 0, timeout: float = 120) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), "--toy", "--out", str(out), "--work", str(out.parent / "work"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_part_that_takes_too_long_or_fails_leaves_an_entry_and_the_others_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out" / "gpu.json"
    assert measure(out, "--parts", "versions,worker", "--limit", "0.5", expected=1).keys() == {"versions", "worker"}
    found = measure(out, "--parts", "step", "--set", "trainer.no_such_key=1", expected=1)
    assert found.keys() == {"versions", "worker", "step trainer.no_such_key=1"}
    assert found["versions"]["status"] == found["worker"]["status"] == "timed out after 0.5 s"
    assert found["step trainer.no_such_key=1"]["status"] == "error: exit status 1"
    output = found["step trainer.no_such_key=1"]["output"]
    assert "no_such_key" in output
    assert str(SCRIPT.parent.parent) not in output


@pytest.mark.slow
def test_every_part_measures_something(tmp_path: Path) -> None:
    found = measure(tmp_path / "gpu.json", timeout=1800)
    parts = [
        "versions",
        "worker",
        "shares",
        "tests",
        "profile",
        "shapes",
        "step",
        "concurrent",
        "rivals",
        "seed",
        "seeds",
    ]
    assert {name: entry["status"] for name, entry in found.items()} == dict.fromkeys(parts, "done")
    assert found["shares"]["result"]["100 %"]["wrong"] == 0
    assert found["seed"]["result"]["runs finished"] == "2 of 2"
    assert found["seeds"]["result"]["runs finished"] == "4 of 4"
    assert found["profile"]["result"]["cola-like"]["ms an update"] > 0
    ways = found["rivals"]["result"]["cola"]
    assert len(ways) == 5
    assert all(value > 0 for way in ways.values() for value in way.values())
