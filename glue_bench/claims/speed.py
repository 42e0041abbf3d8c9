"""Measure how many times as fast one architecture is as another, with random weights and glue-bench's own engine.

Training is `glue_bench.training.trainer.fit`, inference `glue_bench.training.trainer.predict`, as in a run.
"""

import dataclasses
import math
import os
import statistics
import time
import timeit
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from transformers import PretrainedConfig

from glue_bench.claims import Claim, ClaimRow, ClaimVerdict, Progress
from glue_bench.claims.models import Model
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError
from glue_bench.machine import processor_name, usable_cores
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.families import max_positions
from glue_bench.models.placement import choose_placement, is_out_of_memory, keep_freed_memory
from glue_bench.text import first_line
from glue_bench.training.course import SeedStreams
from glue_bench.training.trainer import fit, predict

# Tokens of a row: sixteen quantiles of GLUE's lengths. 800 dev rows each of CoLA, SST-2, QQP, QNLI and MNLI and all of
# MRPC's, the six weighted alike, in BERT's uncased word pieces.
LENGTHS = (8, 10, 14, 18, 21, 24, 27, 30, 34, 38, 41, 46, 51, 57, 63, 74)
PREDICTED = 4  # times LENGTHS in a prediction
OCCURRING = 8_000  # distinct token ids in the rows, as in a small task; the embedding table is cut to them
LEAST_SECONDS = 1.0  # of the faster model in one timing
MOST_WORK = 200  # updates or predictions in one timing
CERTAINTY = 0.9  # of the median's interval, at least
UNITS = {"training": f"an update of {len(LENGTHS)} rows", "inference": f"{PREDICTED * len(LENGTHS)} rows"}
_SEED = 0

Floats = NDArray[np.float64]


class Bench:
    """Two models of random weights, and rows for both."""

    def __init__(self, own: PretrainedConfig, other: PretrainedConfig, *, settings: TrainerConfig) -> None:
        """Build both models; a UsageError if the device or the engine is not available.

        An InputError if a configuration makes no classifier, or has too few positions.
        """
        positions = min(max_positions(own), max_positions(other))
        if positions < max(LENGTHS):
            raise InputError(f"a model has positions for {positions} tokens, but the rows have {max(LENGTHS)}")
        self.placement = choose_placement(settings.device, settings.precision, multiply=settings.products)
        device = self.placement.device
        if device.type == "cpu":
            keep_freed_memory()
        self._settings = dataclasses.replace(
            settings, batch_size=len(LENGTHS), accumulation=1, log_every=1, snapshot_minutes=0.0
        )
        vocabulary = min(OCCURRING, int(own.vocab_size), int(other.vocab_size))
        self._trained, self._predicted = (_make_rows(times, vocabulary=vocabulary) for times in (1, PREDICTED))
        made = (load_classifier(each, outputs=2, head_seed=_SEED, engine=settings.engine) for each in (own, other))
        self._models = [model.to(device) for model in made]
        for model in self._models:
            model.cut_vocabulary(np.arange(vocabulary, dtype=np.int32))
        self.engine = " and ".join(dict.fromkeys(model.engine for model in self._models))
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        self.machine: dict[str, Any] = {"device": device.type, "name": name, "precision": self.placement.precision}
        self.machine |= {"threads": torch.get_num_threads(), "cores": len(usable_cores()), "torch": torch.__version__}

    def measure(self, phase: str, *, repeats: int) -> Iterator[Floats]:
        """Time both models in turn, in alternating order; yield the seconds (2 models,) of each pair."""
        work = self._train if phase == "training" else self._predict
        warm, _ = (work(model, 1) for model in self._models)
        amount = min(MOST_WORK, math.ceil(LEAST_SECONDS / warm))
        for pair in range(repeats):
            seconds = np.zeros(2)
            for place in (0, 1) if pair % 2 == 0 else (1, 0):
                seconds[place] = work(self._models[place], amount)
            yield seconds

    def _train(self, model: Classifier, updates: int) -> float:
        ends = list[float]()
        fit(
            model,
            self._trained,
            labels=np.arange(len(self._trained)) % 2,
            settings=dataclasses.replace(self._settings, updates=1 + updates),
            streams=SeedStreams.from_seed(_SEED),
            placement=self.placement,
            history=[],
            on_step=lambda _: ends.append(time.perf_counter()),
        )
        return (ends[-1] - ends[0]) / updates

    def _predict(self, model: Classifier, times: int) -> float:
        usual: dict[str, Any] = {"batch_size": self._settings.eval_batch_size, "placement": self.placement}
        return timeit.timeit(lambda: predict(model, self._predicted, **usual), number=times) / times


def measure_speed(
    claim: Claim, models: Mapping[str, Model], *, settings: TrainerConfig, repeats: int, on_progress: Progress
) -> tuple[ClaimRow, dict[str, Any]]:
    """Compare the interval of the median ratio with the claim's limits; arguments as in `check_card`.

    Return the row, and the machine: empty if nothing was measured.
    """
    own, other, pairs = models[claim.model], models[claim.against], list[Floats]()
    load = os.getloadavg()[0]  # before our own work counts in it
    on_progress(f"{claim.title}: warming up")
    try:
        bench = Bench(own.config, other.config, settings=settings)
        for pair in bench.measure(claim.phase, repeats=repeats):
            pairs.append(pair)
            on_progress(f"{claim.title}: pair {len(pairs)} of {repeats}: {pair[1] / pair[0]:.2f} times as fast")
    except InputError as error:
        return ClaimRow(claim=claim, verdict=ClaimVerdict.NOT_CHECKABLE, why=first_line(error)), {}
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return ClaimRow(claim=claim, verdict=ClaimVerdict.NOT_CHECKABLE, why="too little memory for the two models"), {}
    seconds = np.stack(pairs)  # (pairs, 2 models)
    ratios = (seconds[:, 1] / seconds[:, 0]).tolist()
    median, ((low, high), certainty) = statistics.median(ratios), median_interval(ratios, certainty=CERTAINTY)
    limits = f"{claim.at_least:g} to {claim.below:g}"
    verdict, why = ClaimVerdict.UNDECIDED, f"crosses a limit of {limits}: use more repeats, or a quieter machine"
    if claim.at_least <= low and high < claim.below:
        verdict, why = ClaimVerdict.CONFIRMED, f"lies within {limits}"
    elif high < claim.at_least or low >= claim.below:
        verdict, why = ClaimVerdict.CONTRADICTED, f"lies outside of {limits}"
    times = [f"{each:.2f} s" if each >= 1 else f"{1000 * each:.0f} ms" for each in np.median(seconds, axis=0).tolist()]
    found = f"{median:.2f} times as fast, {100 * certainty:.0f} % interval {low:.2f} to {high:.2f}; all {len(ratios)} "
    found += f"pairs {min(ratios):.2f} to {max(ratios):.2f}; {' and '.join(times)} for {UNITS[claim.phase]}"
    details: dict[str, Any] = {"ratios": [round(ratio, 4) for ratio in ratios], "unit": UNITS[claim.phase]}
    details["seconds"] = dict(zip((claim.model, claim.against), seconds.T.round(4).tolist(), strict=True))
    details |= {"median": median, "interval": [low, high], "certainty": certainty, "engine": bench.engine}
    row = ClaimRow(
        claim=claim,
        verdict=verdict,
        found=found,
        why=f"the interval {why}; engine {bench.engine}",
        basis=f"measured here, random weights in {' and '.join(dict.fromkeys([own.basis, other.basis]))}",
        details=details,
    )
    return row, {**bench.machine, "load_before": load}


def median_interval(values: Sequence[float], *, certainty: float) -> tuple[tuple[float, float], float]:
    """Find the narrowest symmetric interval of order statistics that holds the true median with this certainty.

    Return its ends, and its certainty: below `certainty` only if there are too few values.
    """
    ordered, law = sorted(values), binom(len(values), 0.5)
    cut = max(0, int(law.ppf((1 - certainty) / 2)) - 1)
    return (ordered[cut], ordered[-1 - cut]), 1 - 2 * float(law.cdf(cut))


def _make_rows(times: int, *, vocabulary: int) -> Encoded:
    """Make rows of LENGTHS, `times` over, from random ordinary tokens."""
    lengths, random = np.tile(LENGTHS, times), np.random.default_rng(_SEED)
    special = min(5, vocabulary - 1)  # tokens at the start, which no row has
    tokens = random.integers(special, vocabulary, size=int(lengths.sum()), dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(tokens=tokens, types=np.zeros(len(tokens), dtype=np.uint8), offsets=offsets, truncated=0)
