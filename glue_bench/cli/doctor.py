"""`glue-bench doctor`: whether a sweep would work here, and what to do if not.

Takes the words of `sweep`; without any, checks the model card's table. Looks at packages, cores and memory, the
results folder and what earlier sweeps left in it, encoders and rows (here, in the hub's cache, or on the hub), device
and disk. Downloads and changes nothing.

exit code: 3 if something would stop the sweep, 0 if nothing was found; else as for every verb

examples:
  glue-bench doctor
  glue-bench doctor preset=sample
  glue-bench doctor encoder=minilm data=local data.path=my_glue tasks=[rte,mrpc] trainer.device=cuda
  glue-bench doctor --format json
"""

import argparse
import sys
from collections.abc import Iterator

from glue_bench.cli.shared import add_options, style
from glue_bench.doctor import PROBLEM, Finding, examine_installation, render_finding, summarise, to_json
from glue_bench.errors import InputError
from glue_bench.training.distributed import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "configuration, as for sweep", config_dir=True, formats=("console", "json"))


def execute(arguments: argparse.Namespace) -> int:
    """Print each finding as it comes; return 3 if one would stop the sweep."""
    Processes.from_environment().refuse("doctor")
    findings = list[Finding]()
    for finding in _examine(arguments):
        findings.append(finding)
        if arguments.format == "console":
            sys.stdout.write(render_finding(finding, **style()))
            sys.stdout.flush()
    if arguments.format == "json":
        sys.stdout.write(to_json(findings))
    else:
        sys.stdout.write(f"{summarise(findings)}\n")
    return InputError.exit_code if any(finding.state == PROBLEM for finding in findings) else 0


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Yield what is installed, and what the sweep needs as far as the installed packages can show."""
    words, config_dir = arguments.overrides, arguments.config_dir
    broken, sweep = None, None
    try:
        from glue_bench.config.compose import compose_starts, compose_sweep
        from glue_bench.doctor.sweep import examine_sweep

        sweep = compose_sweep(words, config_dir=config_dir)
        starts = [compose_starts(config, words, config_dir=config_dir) for config in sweep.configs]
        parents = {str(parent): parent for chain in starts for parent in chain}
    except ImportError as error:
        broken = error
    try:
        yield from examine_installation()
        if sweep is not None:
            yield from examine_sweep(sweep, list(parents.values()))
    except ImportError as error:
        broken = error
    if broken is not None:
        advice = "pip install again, with the constraints file; other checks need it"
        yield Finding(name="imports", state=PROBLEM, found=f"{type(broken).__name__}: {broken}", advice=advice)
