"""The part of the schema that describes a task, and the names of metrics and conventions. Knows no Hydra, no torch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

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

GIVEN = Must("given", lambda text: bool(text.strip()))
NAME = Must.match(
    "made of letters, digits, '.', '_' and '-', starting with a letter or digit",
    r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,95}",
)
DISTINCT = Must("at least one, each only once", lambda values: len({*values}) == len(values) > 0)
_NAMES = Must(NAME.words, lambda names: all(map(NAME.holds, names)))
_NOT_TEXTS = ("", "label", "idx")  # columns with other contents
_ONE_OR_TWO = Must(
    "one or two different column names, not label or idx",
    lambda names: len({*names}) == len(names) in (1, 2) and not {name.strip() for name in names} & {*_NOT_TEXTS},
)


@dataclass(slots=True, kw_only=True)
class TaskConfig:
    """The facts of one task: conf/task/NAME.yaml."""

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
        """Yield the rules for facts that must fit together."""
        for metric in self.metrics:
            fits = (metric in REGRESSION_METRICS) == (self.kind == "regression")
            yield "task.metrics", metric, fits, f"a metric of {self.kind}"
            fits = metric not in _OF_CLASS_1 or len(self.labels) == 2
            yield "task.metrics", metric, fits, f"used with two labels only; macro_{metric} takes any number"
        yield "task.headline", self.headline, self.headline in (None, *self.metrics), "one of task.metrics"
        labels, low_high = self.labels, self.label_range or []
        if self.kind == "classification":
            named = len({*labels}) == len(labels) >= 2 and all(label.strip() for label in labels)
            yield "task.labels", labels, named, "two or more different names"
            yield "task.label_range", self.label_range, self.label_range is None, "null for classification"
        else:
            ordered = len(low_high) == 2 and low_high[0] < low_high[1]
            yield "task.label_range", low_high, ordered, "[lowest, highest]"
            yield "task.labels", labels, not labels, "empty for regression"
        own = [*self.texts, "label", "idx"]
        for name in self.columns:
            require_one_of("task.columns", name, allowed=own)
        read = [self.columns.get(name, name) for name in own]
        apart = len({*read}) == len(read) and all(map(str.strip, read))
        yield "task.columns", self.columns, apart, "different names; columns that it leaves out keep theirs"
        apart = len({self.train, *self.validation}) == 1 + len(self.validation) > 1
        yield "task.validation", self.validation, apart, f"at least one split, each only once, and not {self.train}"
        scores = [f"{split}.{metric}" for split in self.validation for metric in self.metrics]
        for convention, parts in self.conventions.items():
            yield f"task.conventions.{convention}", parts, DISTINCT.holds(parts), "SPLIT.METRIC scores, each only once"
            for part in parts:
                require_one_of(f"task.conventions.{convention}", part, allowed=scores)
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
