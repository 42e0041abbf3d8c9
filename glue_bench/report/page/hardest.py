"""The chapter on the dev rows with the highest loss over the seeds, with their texts where these can be had."""

from collections.abc import Mapping, Sequence

import numpy as np

from glue_bench.report.page.chapters import by_task
from glue_bench.report.page.display import join_words, shorten, show_number
from glue_bench.report.page.entries import Entry
from glue_bench.report.page.evidence import row_losses
from glue_bench.report.page.model import Chapter, Column, Group, Table
from glue_bench.report.page.rows import DevRows

HARDEST = 5  # rows shown for each task and encoder
_TEXT = 320  # characters of a text


def write_hardest(entries: Sequence[Entry], dev_rows: DevRows) -> Chapter:
    """The dev rows with the highest loss, and their texts."""
    groups, hidden = [], dict[str, list[str]]()
    for alike in by_task(entries).values():
        tables = []
        for entry in alike:
            if not entry.predictions or entry.known is None:
                continue
            texts, reason = dev_rows.texts_of(entry.known)
            tables.append(_hardest_table(entry, texts))
            if reason:
                hidden.setdefault(reason, []).append(f"{entry.series.label} on {entry.row.title}")
        if tables:
            groups.append(Group(title=alike[0].row.title, tables=tables))
    every = sum(len(group.tables) for group in groups)
    notes = [
        f"The texts{'' if len(names) == every else f' of {join_words(names)}'} are not shown: {reason}"
        for reason, names in hidden.items()
    ]
    return Chapter(
        id="hardest",
        title="The hardest dev rows",
        intro=(
            f"The {HARDEST} dev rows of each task with the highest loss (cross-entropy; squared error for scores), "
            "averaged over the seeds. A row that all seeds get wrong with confidence is often mislabelled or "
            "ambiguous: worth a look before anything is blamed on a model. The texts are read again from where the "
            "runs had them, and shown only if their fingerprint is still the recorded one.",
        ),
        groups=[Group(notes=notes), *groups] if notes else groups,
    )


def find_hardest(entry: Entry, count: int = HARDEST) -> list[tuple[str, int, float]]:
    """The rows with the highest mean loss over seeds: split, place in the split, loss; ties in the split's order."""
    ranked = []
    for split in entry.task.validation:
        losses = np.mean([row_losses(splits[split]) for splits in entry.predictions.values()], axis=0)  # (n,)
        best = np.argsort(-losses, kind="stable")[:count]
        ranked += [(split, int(place), float(losses[place])) for place in best]
    return sorted(ranked, key=lambda found: -found[2])[:count]


def _hardest_table(entry: Entry, texts: Mapping[str, Sequence[Sequence[str]]] | None) -> Table:
    facts = entry.task
    columns = [Column(title="row", numeric=True)]
    columns += [Column(title=name, text=True) for name in facts.texts] if texts else []
    columns += [Column(title="label"), Column(title="predicted"), Column(title="mean loss", numeric=True)]
    rows = []
    for split, place, loss in find_hardest(entry):
        seeds = [splits[split] for splits in entry.predictions.values()]
        name = f"{seeds[0].idx[place]}"
        if len(facts.validation) > 1:
            name += f" {split.removeprefix('validation_')}"
        shown = [shorten(column[place], _TEXT) for column in texts[split]] if texts else []
        label, predicted = _tell_outcome(entry, [(one.label[place], one.prediction[place]) for one in seeds])
        rows.append((name, *shown, label, predicted, show_number(loss, digits=2)))
    return Table(caption=f"{entry.series.label} on {entry.row.title}", columns=columns, rows=rows)


def _tell_outcome(entry: Entry, pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    """The label, and what the seeds predicted, in words."""
    if entry.task.regression:
        low, high = min(found for _, found in pairs), max(found for _, found in pairs)
        label, *found = (show_number(value, digits=2) for value in (pairs[0][0], low, high))
        return label, " to ".join(found[: len(pairs)])
    labels = entry.task.labels
    found = [labels[int(code)] for _, code in pairs]
    told = [f"{name} ({found.count(name)}\u00a0of\u00a0{len(found)})" for name in dict.fromkeys(found)]
    return labels[int(pairs[0][0])], join_words(told) if len(pairs) > 1 else found[0]
