"""Runs that fail, each in a different way, and a count of trainings; preloaded into the workers of a real sweep.

The variable BAD_RUNS, as in `rte-2=segfault,sst2-1=hang`, says
which runs go wrong in the middle of their training, TRAININGS names a file that gets a line per training begun (with an
exclamation mark if the run is finished already), and PHASES a folder with a file per run in progress, which holds its
phase and process. Importing this changes `Experiment.run` in the process.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glue_bench.runs import experiment
from tests.support.bad_kinds import KINDS

_fit, _run = experiment.fit, experiment.Experiment.run  # type: ignore[attr-defined]
_now: list[str] = []


def _run_and_remember(run: experiment.Experiment) -> Any:
    record, on_phase = run.store.load(*run.request.place), run.on_phase
    again = "!" if record is not None and record.finished else ""
    _now[:] = [f"{run.config.task.name}-{run.config.seed}", again]

    def note(name: str) -> None:
        on_phase(name)
        if "PHASES" in os.environ:
            path = Path(os.environ["PHASES"], _now[0])
            path.write_text(f"{name} {os.getpid()}") if name else path.unlink(missing_ok=True)

    run.on_phase = note
    try:
        return _run(run)
    finally:
        note("")


def _fit_or_not(*rest: Any, on_step: Callable[[Any], None], **more: Any) -> Any:
    if "TRAININGS" in os.environ:
        with Path(os.environ["TRAININGS"]).open("a") as file:
            file.write("".join(_now) + "\n")
    wrong = dict(pair.split("=") for pair in os.environ.get("BAD_RUNS", "").split(",") if pair)

    def step(report: Any) -> None:
        on_step(report)
        if report.step == 2 and _now[0] in wrong:
            KINDS[wrong[_now[0]]]()

    return _fit(*rest, on_step=step, **more)


experiment.fit, experiment.Experiment.run = _fit_or_not, _run_and_remember  # type: ignore[assignment, attr-defined, method-assign]
