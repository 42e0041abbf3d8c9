"""The task adapter: what the rest of the house asks a task. Facts are data (conf/task/); there is one adapter."""

from collections.abc import Mapping
from dataclasses import dataclass

from glue_bench.config.schema import TaskConfig


@dataclass(frozen=True, slots=True)
class TaskAdapter:
    """One task, as the trainer (outputs, kind), the metrics and the tables need it."""

    facts: TaskConfig

    @property
    def regression(self) -> bool:
        """Whether labels are scores rather than classes."""
        return self.facts.kind == "regression"

    @property
    def outputs(self) -> int:
        """Logits of a row: one per class, or one."""
        return 1 if self.regression else len(self.facts.labels)

    def parts(self, convention: str) -> list[str]:
        """The SPLIT.METRIC scores whose mean is the task's number under `convention`.

        A task that names no conventions uses the mean of all its metrics over all its validation splits.
        """
        every = [f"{split}.{metric}" for split in self.facts.validation for metric in self.facts.metrics]
        return self.facts.conventions.get(convention, every)

    def not_comparable_because(self, *, source: str, rows: Mapping[str, int], init: str = "pretrained") -> list[str]:
        """Why scores on these rows must not stand beside published ones; empty if they may.

        Args:
            init: as in the record.
        """
        reasons = []
        if init != "pretrained":
            reasons.append(f"starts from the fine-tuned {init.partition(':')[0]} model, the published numbers do not")
        if source == "sample":
            return [*reasons, "sample data"]
        if not self.facts.rows:
            return [*reasons, f"no official row counts are known for {self.facts.name}"]
        for split in (self.facts.train, *self.facts.validation):
            official, used = self.facts.rows.get(split), rows[split]
            if official is None:
                reasons.append(f"no official row count is known for {split}")
            elif used != official:
                reasons.append(f"{split} has {used:,} rows, official {official:,}")
        return reasons


def headline(parts: list[str], scores: Mapping[str, Mapping[str, float]]) -> float:
    """The mean of the SPLIT.METRIC scores, in their natural units."""
    pairs = [part.rsplit(".", 1) for part in parts]
    return sum(scores[split][metric] for split, metric in pairs) / len(pairs)


def metric_title(parts: list[str]) -> str:
    """The parts in words, as a table's column: `mean of accuracy and F1`."""
    words = {
        "accuracy": "accuracy",
        "f1": "F1",
        "matthews_correlation": "Matthews correlation",
        "pearson": "Pearson",
        "spearman": "Spearman",
    }
    named = []
    for part in parts:
        split, metric = part.rsplit(".", 1)
        kind = split.removeprefix("validation").removeprefix("_")
        named.append(f"{kind} {words[metric]}".strip())
    return named[0] if len(named) == 1 else f"mean of {', '.join(named[:-1])} and {named[-1]}"
