"""The command line of a sweep whose workers load tests.support.bad_runs. Its driver stays as light as the real one."""

import importlib
import sys

from glue_bench.cli import main as glue_bench
from glue_bench.sweep import local


def main() -> int:
    """Run `glue-bench` with the variables of tests.support.bad_runs."""
    local._PRELOADED.append("tests.support.bad_runs")
    if "executor=serial" in sys.argv:
        importlib.import_module("tests.support.bad_runs")
    return glue_bench(sys.argv[1:])
