"""`glue-bench doctor`: whether a sweep would work here, and what to do if not.

Takes the words of `sweep`; without any, checks the model card's table. Looks at packages, cores and memory, the
results folder, encoders and rows (here, in the hub's cache, or on the hub), device and disk. Downloads nothing and
changes nothing.

exit code: 3 if something would stop the sweep, 0 if nothing was found; other codes as for every verb

examples:
  glue-bench doctor
  glue-bench doctor preset=sample
  glue-bench doctor encoder=minilm data=local data.path=my_glue tasks=[rte,mrpc] trainer.device=cuda
  glue-bench doctor --format json
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from glue_bench.cli.shared import add_options, style
from glue_bench.doctor import NOTE, PROBLEM, Finding, examine_installation, render_finding
from glue_bench.errors import InputError
from glue_bench.text import plural
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
    problems, notes = (sum(finding.state == state for finding in findings) for state in (PROBLEM, NOTE))
    what = plural(problems, "problem") if problems else "nothing found that"
    text = f"{what} would stop this sweep" + (f"; {plural(notes, 'note')}" if notes else "")
    if arguments.format == "json":
        content = {"schema_version": 1, "ready": not problems, "findings": list(map(asdict, findings))}
        text = json.dumps(content, indent=1)
    sys.stdout.write(f"{text}\n")
    return InputError.exit_code if problems else 0


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Yield what is installed, and what the sweep needs as far as the installed packages can show."""
    words, config_dir, installed = arguments.overrides, arguments.config_dir, examine_installation()
    try:
        from glue_bench.config.compose import compose_starts, compose_sweep
        from glue_bench.doctor.sweep import examine_sweep

        sweep = compose_sweep(words, config_dir=config_dir)
        starts = [compose_starts(config, words, config_dir=config_dir) for config in sweep.configs]
        parents = {str(parent): parent for chain in starts for parent in chain}
        yield from installed
        yield from examine_sweep(sweep, list(parents.values()))
    except ImportError as error:
        with contextlib.suppress(ImportError):  # of `packaging`, which `installed` needs
            yield from installed  # those findings that were not shown yet
        advice = "run pip install again, with the constraints file; the other checks need it"
        yield Finding("imports", PROBLEM, found=f"{type(error).__name__}: {error}", advice=advice)
