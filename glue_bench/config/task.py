"""A task: its definition, the scores that its numbers are made of, and their names. Knows no Hydra, no torch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

from glue_bench.config.keys import Must, Rule, bookkeeping, key, require_one_of

TaskKind = Literal["classification", "regression"]
Metric = Literal[
    "accuracy", "balanced_accuracy", "f1", "macro_f1", "micro_f1", "precision", "macro_precision", "recall",
    "macro_recall", "matthews_correlation", "pearson", "spearman",
]  # fmt: skip
Convention = Literal["card", "paper"]
METRICS: tuple[str, ...] = get_args(Metric)
CONVENTIONS: tuple[str, ...] = get_args(Convention)
REGRESSION_METRICS = ("pearson", "spearman")
CORRELATIONS = ("matthews_correlation", *REGRESSION_METRICS)  # -1 to 1; all other metrics are 0 to 1
_OF_CLASS_1 = ("f1", "precision", "recall")

GIVEN = Must("given", lambda text: text.strip() not in ("", "???"))  # ???: OmegaConf's word for not given
NAME = Must.match(
    "made of letters, digits, '.', '_' and '-', starting with a letter or digit",
    r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,95}",
)
DISTINCT = Must("at least one, each only once", lambda values: len({*values}) == len(values) > 0)
_NAMES = Must(NAME.words, lambda names: all(map(NAME.holds, names)))
_ONE_OR_TWO = Must(
    "one or two different column names, not label or idx",
    lambda names: len({*names}) == len(names) in (1, 2) and not {*map(str.strip, names)} & {"", "label", "idx"},
)
_TITLES = {"f1": "F1", "matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman"}  # in the words of tables
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


@dataclass(slots=True, kw_only=True)
class TaskConfig:
    """One task: its definition in conf/task/NAME.yaml, and what training, metrics and reports ask of it."""

    name: str = key("name of the file and of the folder in results_dir", NAME)
    title: str = bookkeeping("title in tables", GIVEN)
    kind: TaskKind = key("whether labels are classes or scores")
    texts: list[str] = key("the text columns", _ONE_OR_TWO)
    labels: list[str] = key("classes, in the order of the codes 0, 1, ...", make=list)
    label_range: list[float] | None = key("lowest and highest label of a regression", default=None)
    columns: dict[str, str] = key(
        "the file's names of text columns, label and idx, where they differ", later=True, make=dict
    )
    metrics: list[Metric] = key("metrics of the predictions", DISTINCT)
    headline: Metric | None = bookkeeping(
        "the metric that is the task's score where no convention says more; null: the first of `metrics`", default=None
    )
    train: str = key("the training split", NAME, default="train")
    validation: list[str] = key("the splits that are scored", _NAMES, make=lambda: ["validation"])
    test: list[str] = bookkeeping("the splits without labels", _NAMES, make=lambda: ["test"])
    rows: dict[str, int] = bookkeeping("number of official rows of each split", make=dict)
    fingerprints: dict[str, str] = bookkeeping("hash of a split's official texts and labels, if known", make=dict)
    conventions: dict[Convention, list[str]] = bookkeeping(
        "for each convention, the SPLIT.METRIC scores that the table averages", make=dict
    )
    hub_config: str | None = key("folder in the hub's dataset; null: the task's name", NAME, default=None)
    init_from: list[str] = bookkeeping("tasks whose runs this task may start from (init=TASK)", make=list)
    leaderboard: dict[str, str] = bookkeeping(
        "names of the leaderboard's files, without the ending .tsv, each with its SPLIT or FOLDER/SPLIT", make=dict
    )
    leaderboard_labels: Literal["codes", "names"] = bookkeeping("how those files write classes", default="codes")

    def rules(self) -> Iterator[Rule]:
        """Yield the rules for values that must fit together."""
        for metric in self.metrics:
            yield "task.metrics", metric, (metric in REGRESSION_METRICS) == self.regression, f"a metric of {self.kind}"
            fits = metric not in _OF_CLASS_1 or len(self.labels) == 2
            yield "task.metrics", metric, fits, f"used with two labels only; macro_{metric} takes any number"
        yield "task.headline", self.headline, self.headline in (None, *self.metrics), "one of task.metrics"
        labels, low_high = self.labels, self.label_range or []
        if self.regression:
            ordered = len(low_high) == 2 and low_high[0] < low_high[1]
            yield "task.label_range", low_high, ordered, "[lowest, highest]"
            yield "task.labels", labels, not labels, "empty for regression"
        else:
            named = len({*labels}) == len(labels) >= 2 and all(map(str.strip, labels))
            yield "task.labels", labels, named, "two or more different names"
            yield "task.label_range", self.label_range, self.label_range is None, "null for classification"
        own = [*self.texts, "label", "idx"]
        for name in self.columns:
            require_one_of("task.columns", name, allowed=own)
        read = [self.columns.get(name, name) for name in own]
        apart = len({*read}) == len(read) and all(map(str.strip, read))
        yield "task.columns", self.columns, apart, "different names; columns that it leaves out keep theirs"
        apart = len({self.train, *self.validation}) == 1 + len(self.validation) > 1
        yield "task.validation", self.validation, apart, f"at least one split, each only once, and not {self.train}"
        for convention, parts in self.conventions.items():
            yield f"task.conventions.{convention}", parts, DISTINCT.holds(parts), "SPLIT.METRIC scores, each only once"
            for part in parts:
                require_one_of(f"task.conventions.{convention}", part, allowed=[*map(str, self.every_part())])
        for split, count in self.rows.items():
            yield f"task.rows.{split}", count, count >= 1, "1 or more"
        official = "a split with official rows in task.rows"
        for split, fingerprint in self.fingerprints.items():
            yield "task.fingerprints", split, split in self.rows, official
            known = bool(re.fullmatch(r"[0-9a-f]{16}", fingerprint))
            yield f"task.fingerprints.{split}", fingerprint, known, "16 hex digits, in quotation marks"
        places = f"one of the test splits {', '.join(self.test)}, or FOLDER/SPLIT"
        for file, place in self.leaderboard.items():
            yield "task.leaderboard", file, NAME.holds(file), NAME.words
            known = place in self.test or (place.count("/") == 1 and all(map(NAME.holds, place.split("/"))))
            yield f"task.leaderboard.{file}", place, known, places
            yield f"task.leaderboard.{file}", place, place in self.rows, official

    @property
    def regression(self) -> bool:
        """Whether labels are scores rather than classes."""
        return self.kind == "regression"

    @property
    def outputs(self) -> int:
        """Number of logits per row: one per class, or one."""
        return 1 if self.regression else len(self.labels)

    def parts(self, convention: str) -> list[ScorePart]:
        """Return the scores whose mean is the task's number under a convention, a name or one SPLIT.METRIC.

        A task that lacks it uses its headline, or else its first metric, on all its validation splits.
        """
        if "." in convention:
            return [ScorePart.parse(convention)]
        if convention in self.conventions:
            return [ScorePart.parse(text) for text in self.conventions[convention]]
        return [ScorePart(split, self.headline or self.metrics[0]) for split in self.validation]

    def states(self, convention: str) -> bool:
        """Return whether a published number's convention says which scores were averaged; with one metric, any does."""
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
        """Say why scores cannot be compared with published ones; empty if they can.

        `rows`, and `fingerprints` as far as known, are those of each whole split; all else is as in the record.
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
            elif split in fingerprints and fingerprints[split] != self.fingerprints.get(split, fingerprints[split]):
                reasons.append(f"{split}'s rows are not the official ones")
        return reasons

    def checked(self, *, source: str, fingerprints: Mapping[str, str]) -> dict[str, str]:
        """Say how each split was compared with the official one: by content, or by number of rows."""
        splits = [split for split in (self.train, *self.validation) if split in self.rows and source != "sample"]
        pinned = fingerprints.keys() & self.fingerprints.keys()
        return {split: "content" if split in pinned else "rows" for split in splits}


def start_tasks(init: str) -> list[str]:
    """Return the tasks of a start, nearest first, as records write it (TASK:RUN_ID from TASK) or settings."""
    return [start.partition(":")[0] for start in init.split(" from ")]


def started_from(init: str) -> str:
    """Say that a run's initial weights (as in the record) are not those of published numbers."""
    return f"starts from the fine-tuned {start_tasks(init)[0]} model, the published numbers do not"


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
    words = [" ".join(_TITLES.get(word, word) for word in part.metric.split("_")) for part in parts]
    splits = [part.split.removeprefix("validation").strip("_") for part in parts]
    named = [f"{split} {name}".strip() for split, name in zip(splits, words, strict=True)]
    return named[0] if len(named) == 1 else f"mean of {', '.join(named[:-1])} and {named[-1]}"
