"""How many times as fast one architecture is as another, measured here at random weights through our own engine.

Training is `glue_bench.training.trainer.fit`, inference `glue_bench.training.trainer.predict`, as a run uses them.
"""

import dataclasses
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig

from glue_bench.claims.rows import CONFIRMED, CONTRADICTED, UNDECIDED, ClaimRow, make_row
from glue_bench.claims.statements import SpeedClaim
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError
from glue_bench.models.classifier import Classifier, make_classifier
from glue_bench.models.families import max_positions
from glue_bench.models.placement import Placement, choose_placement, keep_freed_memory
from glue_bench.runs.provenance import processor_name
from glue_bench.training.seeds import SeedStreams
from glue_bench.training.trainer import fit, predict
from glue_bench.training.updates import StepReport

# Tokens of a row: sixteen quantiles of GLUE's lengths. 800 dev rows each of CoLA, SST-2, QQP, QNLI and MNLI and all of
# MRPC's, the six weighted alike, in BERT's uncased word pieces.
LENGTHS = (8, 10, 14, 18, 21, 24, 27, 30, 34, 38, 41, 46, 51, 57, 63, 74)
PREDICTED = 4  # times LENGTHS in a prediction
OCCURRING = 8_000  # token ids in the rows: as many as a small task has, and all of the table that is trained
LEAST_SECONDS = 1.0  # of the faster model in one timing
MOST_WORK = 200  # updates or predictions in one timing
CERTAINTY = 0.9  # of the median's interval, at least
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """How long some work took."""

    wall: float
    processor: float  # of this process, all threads: what other processes take is not in it


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTimes:
    """The same work by both models, one after the other, pair by pair."""

    phase: str  # training or inference
    own: Sequence[Seconds]  # (pairs,) of the model that the claim is about
    other: Sequence[Seconds]  # (pairs,)
    unit: str  # what the seconds are of
    engine: str
    on_cpu: bool

    @property
    def ratios(self) -> list[float]:
        """(pairs,) how many times as fast."""
        return [other.wall / own.wall for own, other in zip(self.own, self.other, strict=True)]

    @property
    def processor_ratio(self) -> float | None:
        """The median ratio of processor time; None where another device does the work."""
        ratios = [other.processor / own.processor for own, other in zip(self.own, self.other, strict=True)]
        return statistics.median(ratios) if self.on_cpu else None


class Bench:
    """Two models of random weights, and the rows that both work on."""

    def __init__(self, own: PretrainedConfig, other: PretrainedConfig, *, settings: TrainerConfig) -> None:
        """Build both.

        Raises:
            UsageError: the device is not there, or the family has not this engine.
            InputError: no classifier can be made of a configuration, or it has too few positions.
        """
        for config in (own, other):
            if max_positions(config) < max(LENGTHS):
                raise InputError(f"a model has positions for {max_positions(config)} tokens, the rows {max(LENGTHS)}")
        self.placement: Placement = choose_placement(settings.device, settings.precision)
        if self.placement.device.type == "cpu":
            keep_freed_memory()
        self._settings = dataclasses.replace(
            settings, batch_size=len(LENGTHS), accumulation=1, log_every=1, snapshot_minutes=0.0
        )
        vocabulary = min(OCCURRING, int(own.vocab_size), int(other.vocab_size))
        self._rows = _make_rows(1, vocabulary=vocabulary), _make_rows(PREDICTED, vocabulary=vocabulary)
        self._models = [
            make_classifier(config, outputs=2, seed=_SEED, engine=settings.engine).to(self.placement.device)
            for config in (own, other)
        ]
        for model in self._models:
            model.cut_vocabulary(np.arange(vocabulary, dtype=np.int32))

    def measure(self, phase: str, *, repeats: int, on_pair: Callable[[int, float], None]) -> PairedTimes:
        """Time both models in turn; which of them is first alternates.

        Args:
            on_pair: told of every pair's number, from 1, and ratio.
        """
        work = {"training": self._train, "inference": self._predict}[phase]
        amount = min(MOST_WORK, math.ceil(LEAST_SECONDS / work(self._models[0], 1).wall))
        work(self._models[1], 1)
        seconds: tuple[list[Seconds], list[Seconds]] = ([], [])
        for pair in range(repeats):
            for place in (0, 1) if pair % 2 == 0 else (1, 0):
                seconds[place].append(work(self._models[place], amount))
            on_pair(pair + 1, seconds[1][-1].wall / seconds[0][-1].wall)
        unit = f"an update of {len(LENGTHS)} rows" if phase == "training" else f"{PREDICTED * len(LENGTHS)} rows"
        engine = " and ".join(dict.fromkeys(model.engine for model in self._models))
        on_cpu = self.placement.device.type == "cpu"
        return PairedTimes(phase=phase, own=seconds[0], other=seconds[1], unit=unit, engine=engine, on_cpu=on_cpu)

    def machine(self) -> dict[str, Any]:
        """What the ratios were measured on."""
        device = self.placement.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        return {
            "device": device.type,
            "name": name,
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "precision": self.placement.precision,
            "torch": torch.__version__,
        }

    def _train(self, model: Classifier, updates: int) -> Seconds:
        """An update's share; one more goes before them, which allocates what the others reuse."""
        ends = list[Seconds]()

        def note(_: StepReport) -> None:
            ends.append(_now())

        rows = self._rows[0]
        fit(
            model,
            rows,
            labels=np.arange(len(rows)) % 2,
            settings=dataclasses.replace(self._settings, updates=1 + updates),
            streams=SeedStreams.from_seed(_SEED),
            placement=self.placement,
            history=[],
            on_step=note,
        )
        return _share(ends[0], ends[-1], updates)

    def _predict(self, model: Classifier, times: int) -> Seconds:
        """Predicting all rows once."""
        started = _now()
        for _ in range(times):
            predict(model, self._rows[1], batch_size=self._settings.eval_batch_size, placement=self.placement)
        return _share(started, _now(), times)


def check_speed(claim: SpeedClaim, times: PairedTimes, *, architectures: str) -> ClaimRow:
    """Whether the interval of the median ratio lies within, outside of or across the claim's limits.

    Args:
        architectures: where they come from, in words.
    """
    ratios = times.ratios
    median, (low, high), certainty = statistics.median(ratios), *median_interval(ratios, certainty=CERTAINTY)
    inside, outside = claim.at_least <= low and high < claim.below, high < claim.at_least or low >= claim.below
    limits = f"{claim.at_least:g} to {claim.below:g}"
    why = {
        CONFIRMED: f"the interval lies within {limits}",
        CONTRADICTED: f"the interval lies outside of {limits}",
        UNDECIDED: f"the interval reaches across a limit of {limits}: more repeats, or a quieter machine",
    }
    verdict = CONFIRMED if inside else CONTRADICTED if outside else UNDECIDED
    own, other = (statistics.median(one.wall for one in model) for model in (times.own, times.other))
    in_processor = times.processor_ratio
    return make_row(
        claim,
        verdict,
        found=(
            f"{median:.2f} times as fast, {100 * certainty:.0f} % interval {low:.2f} to {high:.2f}; all {len(ratios)} "
            f"pairs {min(ratios):.2f} to {max(ratios):.2f}; {_words(own)} and {_words(other)} for {times.unit}"
            + ("" if in_processor is None else f"; {in_processor:.2f} in processor time")
        ),
        why=f"{why[verdict]}; engine {times.engine}",
        basis=f"measured here, random weights in {architectures}",
        details={
            "ratios": [round(ratio, 4) for ratio in ratios],
            "seconds": {
                name: [round(one.wall, 4) for one in seconds]
                for name, seconds in ((claim.model, times.own), (claim.against, times.other))
            },
            "unit": times.unit,
            "median": median,
            "interval": [low, high],
            "certainty": certainty,
            "processor_ratio": in_processor,
            "engine": times.engine,
        },
    )


def median_interval(values: Sequence[float], *, certainty: float) -> tuple[tuple[float, float], float]:
    """The narrowest symmetric interval of order statistics that holds the true median with this certainty.

    Returns:
        Its ends, and the certainty that it has: below `certainty` only where even all values are too few for it.
    """
    ordered, count = sorted(values), len(values)
    cut, reached = 0, 1 - 2 * 0.5**count
    for beyond in range(1, (count + 1) // 2):
        tail = sum(math.comb(count, below) for below in range(beyond + 1)) / 2**count
        if 1 - 2 * tail < certainty:
            break
        cut, reached = beyond, 1 - 2 * tail
    return (ordered[cut], ordered[-1 - cut]), reached


def _make_rows(times: int, *, vocabulary: int) -> Encoded:
    """LENGTHS, `times` over, of random ordinary tokens."""
    lengths = np.tile(LENGTHS, times)
    first = min(5, vocabulary - 1)  # the special tokens are before it
    tokens = np.random.default_rng(_SEED).integers(first, vocabulary, size=int(lengths.sum()), dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(tokens=tokens, types=np.zeros(len(tokens), dtype=np.uint8), offsets=offsets, truncated=0)


def _now() -> Seconds:
    return Seconds(wall=time.perf_counter(), processor=time.process_time())


def _share(start: Seconds, end: Seconds, count: int) -> Seconds:
    return Seconds(wall=(end.wall - start.wall) / count, processor=(end.processor - start.processor) / count)


def _words(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms"
