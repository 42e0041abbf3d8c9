"""The task adapter: a task's configuration (conf/task/) with methods that the other packages use."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from glue_bench.config.schema import TaskConfig

_NAMES = {"f1": "F1", "matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman"}  # in the words of tables
HALF = "only half of the dev rows is scored"  # with selection=halves


class ScorePart(NamedTuple):
    """One score of a run: a metric on a split. Written SPLIT.METRIC."""

    split: str
    metric: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text`, which is SPLIT.METRIC."""
        split, _, metric = text.rpartition(".")
        return cls(split, metric)

    def __str__(self) -> str:
        """Return SPLIT.METRIC."""
        return f"{self.split}.{self.metric}"


class TaskAdapter(TaskConfig):
    """One task, as training, metrics and reports need it."""

    __slots__ = ()

    @classmethod
    def of(cls, config: TaskConfig) -> Self:
        """Build the adapter of a task's configuration."""
        return cls(**{item.name: getattr(config, item.name) for item in dataclasses.fields(config)})

    @property
    def regression(self) -> bool:
        """Whether labels are scores rather than classes."""
        return self.kind == "regression"

    @property
    def outputs(self) -> int:
        """Number of logits per row: one per class, or one."""
        return 1 if self.regression else len(self.labels)

    def parts(self, convention: str) -> list[ScorePart]:
        """Return the scores whose mean is the task's number under `convention`.

        A convention is a name, or one SPLIT.METRIC. A task that names no conventions uses its headline, or else its
        first metric, on all its validation splits.
        """
        if "." in convention:
            return [ScorePart.parse(convention)]
        if convention in self.conventions:
            return [ScorePart.parse(text) for text in self.conventions[convention]]
        return [ScorePart(split, self.headline or self.metrics[0]) for split in self.validation]

    def states(self, convention: str) -> bool:
        """Return whether a published number's convention says which scores it is the mean of; with one metric, any."""
        if "." in convention:
            return ScorePart.parse(convention) in self.every_part()
        return convention in self.conventions or len({*map(tuple, self.conventions.values())}) < 2

    def every_part(self) -> list[ScorePart]:
        """Return each metric on each validation split."""
        return [ScorePart(split, metric) for split in self.validation for metric in self.metrics]

    def not_comparable_because(
        self,
        *,
        source: str,
        rows: Mapping[str, int],
        fingerprints: Mapping[str, str],
        init: str = "pretrained",
        selection: str = "last",
    ) -> list[str]:
        """Say why scores on these rows cannot be compared with published ones; empty if they can.

        `rows` and `fingerprints`, if known, are those of each whole split; all else is as in the record.
        """
        reasons = []
        if init != "pretrained":
            reasons.append(started_from(init))
        if selection == "halves":
            reasons.append(HALF)
        if source == "sample":
            return [*reasons, "sample data"]
        if not self.rows:
            return [*reasons, f"no official row counts are known for {self.name}"]
        for split in (self.train, *self.validation):
            official, used = self.rows.get(split), rows[split]
            if official is None:
                reasons.append(f"no official row count is known for {split}")
            elif used != official:
                reasons.append(f"{split} has {used:,} rows, official {official:,}")
            elif self._pinned(split, fingerprints) and fingerprints[split] != self.fingerprints[split]:
                reasons.append(f"{split}'s rows are not the official ones")
        return reasons

    def checked(self, *, source: str, fingerprints: Mapping[str, str]) -> dict[str, str]:
        """Say how each split was compared with the official one: by content, or by number of rows."""
        splits = [split for split in (self.train, *self.validation) if split in self.rows and source != "sample"]
        return {split: "content" if self._pinned(split, fingerprints) else "rows" for split in splits}

    def _pinned(self, split: str, fingerprints: Mapping[str, str]) -> bool:
        return split in self.fingerprints and split in fingerprints


def started_from(init: str) -> str:
    """Say that a run's initial weights (as in the record) are not those of published numbers."""
    return f"starts from the fine-tuned {init.partition(':')[0]} model, the published numbers do not"


def headline(parts: Sequence[ScorePart], scores: Mapping[str, Mapping[str, float]]) -> float:
    """Average the parts' scores (split to metric to value), in their natural units."""
    return sum(scores[split][metric] for split, metric in parts) / len(parts)


def undefined_words(undefined: Mapping[str, str]) -> str:
    """Say which scores (SPLIT.METRIC to the reason) are undefined: `Matthews correlation undefined, so 0: all ...`."""
    titles = dict[str, list[str]]()
    for part, why in undefined.items():
        titles.setdefault(why, []).append(metric_title([ScorePart.parse(part)]))
    return "; ".join(f"{' and '.join(parts)} undefined, so 0: {why}" for why, parts in titles.items())


def metric_title(parts: Sequence[ScorePart]) -> str:
    """Describe the parts in words, as a table's column: `mean of accuracy and F1`."""
    words = [" ".join(_NAMES.get(word, word) for word in part.metric.split("_")) for part in parts]
    splits = [part.split.removeprefix("validation").strip("_") for part in parts]
    named = [f"{split} {name}".strip() for split, name in zip(splits, words, strict=True)]
    return named[0] if len(named) == 1 else f"mean of {', '.join(named[:-1])} and {named[-1]}"
