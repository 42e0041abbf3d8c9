"""The stored predictions behind a row, as arrays and as intervals. Knows no published numbers, no formats."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.errors import InputError
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.statistics.degenerate import describe_degenerate
from glue_bench.statistics.intervals import Interval, interval_of_mean
from glue_bench.statistics.resampling import Floats, SplitPredictions, resample_scores
from glue_bench.tasks.adapter import ScorePart, TaskAdapter

STREAM = 20240501  # of every draw: the same records give the same report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the finished runs of a row predicted, line s of every array by the run s."""

    splits: Mapping[str, SplitPredictions]
    degenerate: Mapping[str, str]  # seed to the reason

    def tell_degenerate(self) -> list[str]:
        """A line for each reason, with its seeds."""
        seeds: dict[str, list[str]] = {}
        for seed, reason in self.degenerate.items():
            seeds.setdefault(reason, []).append(seed)
        return [
            f"{'seed' if len(found) == 1 else 'seeds'} {', '.join(found)} degenerate: {reason}"
            for reason, found in seeds.items()
        ]


def read_evidence(store: RunStore, finished: Sequence[Record], task: TaskAdapter) -> Evidence | None:
    """Read the predictions of all runs; None, with a warning, if a file is not there or belongs to other rows."""
    splits, degenerate = dict[str, SplitPredictions](), dict[str, str]()
    for split in task.validation:
        labels, predictions = list[Floats](), list[Floats]()
        for run in finished:
            folder = store.folder(*run.place)
            try:
                found = store.read_predictions(run, split)
            except InputError as error:
                logger.warning("%s: no interval, it has %s", folder, error)
                return None
            rows, told = len(found.label), run.data["rows"][split]
            if rows != told:
                logger.warning("%s: no interval, %s has %d rows, the record says %d", folder, split, rows, told)
                return None
            labels.append(found.label.astype(np.float64))
            predictions.append(found.prediction.astype(np.float64))
            reason = describe_degenerate(
                labels[-1],
                predictions[-1],
                found.logits,
                names=task.labels,
                judged_by_accuracy="accuracy" in task.metrics,
            )
            if reason is not None:
                degenerate.setdefault(str(run.seed), reason)
        if any(not np.array_equal(labels[0], other) for other in labels[1:]):
            logger.warning("%s %s: the labels of its runs differ; no interval", finished[0].task, split)
            return None
        splits[split] = SplitPredictions(labels=labels[0], predictions=np.vstack(predictions))
    return Evidence(splits=splits, degenerate=degenerate)


def score_intervals(
    evidence: Evidence, finished: Sequence[Record], task: TaskAdapter, parts: Sequence[ScorePart]
) -> dict[ScorePart | None, Interval]:
    """Each part's interval, and under None that of the mean of `parts`; in natural units."""
    stream = np.random.default_rng(STREAM)
    scores, drawn = dict[ScorePart, Floats](), dict[ScorePart, Floats]()
    for split, predictions in evidence.splits.items():
        resampled = resample_scores(predictions, task.metrics, stream=stream)
        for metric, values in resampled.items():
            drawn[ScorePart(split, metric)] = values
            scores[ScorePart(split, metric)] = np.array([run.scores[split][metric] for run in finished])
    found: dict[ScorePart | None, Interval] = {
        part: _within(interval_of_mean(scores[part], drawn[part]), [part]) for part in scores
    }
    mean_scores = np.mean([scores[part] for part in parts], axis=0)
    found[None] = _within(interval_of_mean(mean_scores, np.mean([drawn[part] for part in parts], axis=0)), parts)
    # Without a single error, or with nothing but errors, drawing rows shows nothing.
    return {part: interval for part, interval in found.items() if interval.low < interval.high}


def _within(interval: Interval, parts: Sequence[ScorePart]) -> Interval:
    """The interval without what no score can be."""
    shares = all(part.metric in ("accuracy", "f1") for part in parts)
    return dataclasses.replace(interval, low=max(interval.low, 0.0 if shares else -1.0), high=min(interval.high, 1.0))
