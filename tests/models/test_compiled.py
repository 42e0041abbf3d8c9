"""Our kernels compile for NVIDIA's GPUs on a machine without one, and fit into their memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", minversion="3.7")

SHARED = 99 * 1024  # bytes that a program can have on every GPU since Ampere; an H100 has 227 KiB
STACK = 64  # bytes for what registers have no room for: more would be read and written for every tile
MORE = ["bfloat16:90", "bfloat16:86", "float32:120", "bfloat16:86:6", "float32:86:6"]  # the last ones: 6 wide heads


@pytest.mark.parametrize("targets", [["float32:86"], pytest.param(MORE, marks=pytest.mark.slow)], ids=str)
def test_every_kernel_of_an_update_compiles_and_fits(targets: list[str], tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)  # what an earlier version compiled does not count
    command = [sys.executable, "-m", "tests.support.compiled", *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["target"] for each in kernels} == {*targets}
    assert {"embed", "add_norm", "attend", "attend_backward", "_adamw"} <= {each["kernel"] for each in kernels}
    assert [each for each in kernels if each["shared"] > SHARED or each["stack"] > STACK] == []
