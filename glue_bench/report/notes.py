"""The sentences under the table: what the numbers are, and by which rule they were judged. Knows no formats."""

from collections.abc import Sequence

from glue_bench.report.model import Section
from glue_bench.statistics.resampling import DRAWS
from glue_bench.statistics.verdicts import FEWEST_SEEDS
from glue_bench.tasks.published import PublishedTable

OURS = (
    "Every score is on a validation (dev) split, times 100: median [min, max] over the seeds, last checkpoint, nothing "
    "selected on the dev split."
)
OURS_SELECTED = (
    "Every score is on a validation (dev) split, times 100: median [min, max] over the seeds. Where a note says "
    "selected, of that epoch's weights or that cell of a grid; else last checkpoint, nothing selected on the dev split."
)
OPTIMISTIC = "Selected on the dev split: the choice was made on the very rows of the score, which makes it optimistic."
INTERVALS = (
    "95 % interval: where the expected score lies, for other seeds and other dev rows of the same kind "
    f"({DRAWS:,} draws of rows, the same for all seeds, joined with the spread of the seeds). With one seed, for other "
    "rows only."
)
DEV_SETS = (
    "The published numbers are dev-set results too: what the DistilRoBERTa card calls test results stands as dev-set "
    "results in its authors' own README. Difference: our median minus the published number; given only where rows and "
    "metric are the same."
)
VERDICT_RULE = (
    "Verdict: the published runs were scored on the same dev rows, so only training noise counts. Reproduced: the "
    "published number, give or take its rounding, lies in the 95 % interval that mean and spread of our seeds predict "
    "for a run like theirs. Below, above: ours are, and it lies outside. Inconclusive: fewer than "
    f"{FEWEST_SEEDS} seeds, or inside only because so few seeds, or a degenerate run, leave the interval wide. There "
    "is no p-value: nothing is known of the noise of a single published number. A verdict does not say why: recipe and "
    "selection of the published runs may be others."
)
PAIR_MEANS = (
    "Published numbers of DistilRoBERTa are means of metric pairs (MNLI, QQP, MRPC, STS-B), those of roberta-base "
    "single metrics; this is inferred, not documented, and makes the two rows not like for like. "
    "--convention card or paper prints one kind for both."
)

COMPARISON_RULE = (
    "Medians over the seeds that both have, times 100; difference: first minus second, with its 95 % interval over "
    "seeds and dev rows, paired by seed and by row (with one seed, over dev rows alone). p: the larger of two, that of "
    "a permutation, in which the two encoders change places on dev rows drawn by chance, and that at which the "
    "interval touches 0, which knows of training too; adjusted over the tasks (Holm). Better: adjusted p below 0.05. "
    "Detectable: the smallest true difference that one such test would show with probability 0.8, roughly. Kept: the "
    "first's score as a share of the second's."
)


def write_footnotes(sections: Sequence[Section], published: Sequence[PublishedTable]) -> list[str]:
    """What a reader of these sections must know, most important first."""
    rows = [row for section in sections for row in section.rows]
    optimistic = any(row.optimistic for row in rows)
    notes = [OURS_SELECTED if optimistic or any(row.setting.selection != "last" for row in rows) else OURS]
    notes += [OPTIMISTIC] if optimistic else []
    notes += [INTERVALS] if any(row.summary is not None and row.summary.interval for row in rows) else []
    degenerate = sum(len(row.degenerate) for row in rows)
    if degenerate:
        notes.append(
            f"{degenerate} degenerate {'run' if degenerate == 1 else 'runs'}: finished, but learned nothing (constant "
            "or majority-class predictions, below chance). They count in every number of their rows."
        )
    titles = {section.published_title for section in sections if any(row.published is not None for row in section.rows)}
    shown = [table for table in published if table.title in titles]
    if shown:
        notes += [DEV_SETS, VERDICT_RULE, PAIR_MEANS]
    return [*notes, *(f"Protocol of {table.title}: {table.protocol} {_runs_behind(table)}" for table in shown)]


def _runs_behind(table: PublishedTable) -> str:
    if table.runs is None:
        return "The number of runs behind a score is not documented: the verdict takes it for one."
    return f"The verdict takes each score for the median of {table.runs} runs."
