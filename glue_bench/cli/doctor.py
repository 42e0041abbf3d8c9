"""`glue-bench doctor`: would this sweep work here, and what to do if not."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from glue_bench.doctor import PROBLEM, Finding, examine_installation, render_finding, summarise, to_json
from glue_bench.errors import InputError
from glue_bench.training.distributed import Processes

if TYPE_CHECKING:
    from glue_bench.config.schema import RunConfig

_PIPE_WIDTH = 160  # columns where it does not go to a terminal


def execute(arguments: argparse.Namespace) -> int:
    """Print each finding as it comes; 3 if one would stop the sweep."""
    Processes.from_environment().refuse("doctor")
    terminal, findings = sys.stdout.isatty(), list[Finding]()
    for finding in _examine(arguments):
        findings.append(finding)
        if arguments.format == "console":
            sys.stdout.write(render_finding(finding, width=None if terminal else _PIPE_WIDTH, color=terminal))
            sys.stdout.flush()
    if arguments.format == "json":
        sys.stdout.write(to_json(findings))
    else:
        sys.stdout.write(f"{summarise(findings)}\n")
    return InputError.exit_code if any(finding.state == PROBLEM for finding in findings) else 0


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """What is installed, and what the sweep needs as far as packages are there to tell.

    Raises:
        UsageError: the words are no configuration; before anything is found.
    """
    try:
        configs, parents = _compose(arguments)
        broken = None
    except ImportError as error:
        broken = error
    try:
        yield from examine_installation()
        if broken is None:
            from glue_bench.doctor.sweep import examine_sweep

            yield from examine_sweep(configs, parents)
    except ImportError as error:
        broken = error
    if broken is not None:
        advice = "pip install again, with the constraints file; other checks need it"
        yield Finding(name="imports", state=PROBLEM, found=f"{type(broken).__name__}: {broken}", advice=advice)


def _compose(arguments: argparse.Namespace) -> "tuple[list[RunConfig], list[RunConfig]]":
    """The sweep's configurations, and those of the runs that they start from."""
    from glue_bench.config.compose import compose_parent, compose_sweep

    configs = compose_sweep(arguments.overrides, config_dir=arguments.config_dir)
    parents = [compose_parent(config, arguments.overrides, config_dir=arguments.config_dir) for config in configs]
    return configs, list({str(parent): parent for parent in parents if parent is not None}.values())
