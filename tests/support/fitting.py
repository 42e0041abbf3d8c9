"""Training that a real signal stops after an update, for tests of what is continued."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.training.course import StepReport
from glue_bench.training.stopping import StopSignals
from glue_bench.training.trainer import FitResult, fit
from tests.support.training import CPU, STREAMS


def fit_until(
    model: Classifier,
    encoded: Encoded,
    labels: NDArray[np.int64] | NDArray[np.float64],
    settings: TrainerConfig,
    *,
    stop_after: int | None = None,
    history: list[StepReport] | None = None,
    **more: Any,
) -> tuple[list[StepReport], FitResult]:
    """Fit on a CPU unless `more`, which is passed to `fit`, says otherwise, with a SIGUSR1 after one update."""
    lines, signals = [] if history is None else history, StopSignals()
    stops = [] if stop_after is None else [stop_after]

    def on_step(line: StepReport) -> None:
        if stops and line.step >= stops[0]:
            stops.clear()
            os.kill(os.getpid(), signal.SIGUSR1)

    with signals.handled(), signals.at_a_good_moment():
        known = {"streams": STREAMS, "placement": CPU, **more}
        result = fit(
            model, encoded, labels=labels, settings=settings, history=lines, on_step=on_step, signals=signals, **known
        )
    return lines, result


def train_on(
    folder: Path, encoded: Encoded, settings: TrainerConfig, **more: Any
) -> tuple[Classifier, list[StepReport], FitResult]:
    """Train the encoder in a folder, as `fit_until`, on rows whose labels are 0 and 1 in turn if `more` has none."""
    model = load_classifier(folder, outputs=2, head_seed=STREAMS.head, engine=settings.engine)
    model.cut_vocabulary(encoded.tokens)
    labels = more.pop("labels", np.arange(len(encoded)) % 2)
    return model, *fit_until(model, encoded, labels, settings, **more)
