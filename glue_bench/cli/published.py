"""`glue-bench published`: list published rows, show one with all that its source states, check a file.

keys:
  encoder=NAME              of conf/encoder, or a hub id: the rows of that encoder
  task=NAME protocol=NAME   rows with a number for the task, rows of the protocol
  results_dir=FOLDER        whose published/*.json are added (default: results)

examples:
  glue-bench published task=rte
  glue-bench published encoder=deberta_v3 --format csv
  glue-bench published bert-base-cased@flax
  glue-bench published check results/published/mine.json

`published check FILE` names the numbers that cannot be the accuracy of one run on the official dev rows.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glue_bench.cli.shared import add_options, read_words, say, write_output, write_rows, write_table
from glue_bench.config import group_options
from glue_bench.config.task import TaskConfig, metric_title
from glue_bench.errors import InputError, UsageError, did_you_mean
from glue_bench.tasks.published import NOT_STATED, PublishedTable, load_published, read_published
from glue_bench.text import plural, visible

_FILTERS = ("encoder", "task", "protocol")
_OF_SCORE = ("task", "value", "metric", "n", "deviation", "minimum", "maximum", "best", "start", "note")
_HAS: dict[str, Callable[[PublishedTable], list[str]]] = {
    "encoder": lambda table: [name.lower() for name in table.hub_ids],
    "task": lambda table: [*table.scores],
    "protocol": lambda table: [table.protocol_name],
    "row": lambda table: [table.name],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    about = "a row's name; or `check` and a FILE; or KEY=VALUE, as below"
    add_options(parser, about, metavar="WORD", formats=("console", "json", "csv"), out=True)


def execute(arguments: argparse.Namespace) -> int:
    """List the rows, show one, or check a file."""
    from glue_bench.config.compose import compose_task, shipped_encoders
    from glue_bench.report.model import CARD_TASKS

    tasks = {name: compose_task(name) for name in group_options("task")}
    if arguments.overrides[:1] == ["check"]:
        return _check(arguments.overrides[1:], tasks)
    names = [word for word in arguments.overrides if "=" not in word]
    keys = [word for word in arguments.overrides if "=" in word]
    given, _, store = read_words(keys, "published", others=_FILTERS)
    wanted = [*(("row", name) for name in names), *((key, given[key]) for key in _FILTERS if key in given)]
    if names and len(wanted) > 1:
        raise UsageError("published: takes one row's name, or filters")
    hub_ids = {name: (config.hub_id or "").lower() for name, config in shipped_encoders().items()}
    chosen = tables = load_published(store.root.parent / "published")
    for key, text in wanted:
        value = hub_ids.get(text, text.lower()) if key == "encoder" else text
        known = dict.fromkeys(each for table in tables for each in _HAS[key](table))
        if value not in known and value not in hub_ids.values():  # an encoder of conf/ may have no row
            hint = did_you_mean(text, [*known, *(hub_ids if key == "encoder" else ())])
            raise UsageError(f"{text if key == 'row' else f'{key}={text}'}: no published row matches{hint}")
        chosen = [table for table in chosen if value in _HAS[key](table)]
    facts = [_facts(table, tasks, encoders={hub_id: name for name, hub_id in hub_ids.items()}) for table in chosen]
    if arguments.format == "csv":
        about = ("name", "title", "protocol_name", "method", "statistic", "runs", "status", "source")
        rows = [{**{key: row[key] for key in about}, **score} for row in facts for score in row["scores"]]
        write_rows(rows, "csv", like=[*about, *_OF_SCORE], out=arguments.out)
    elif arguments.format == "json":
        write_rows(facts[0] if names else facts, "json", like=[], out=arguments.out)
    elif names:
        table, shown = chosen[0], facts[0]
        cells = [["" if score[key] is None else f"{score[key]}" for key in _OF_SCORE] for score in shown["scores"]]
        stated = {key: getattr(table, key) or NOT_STATED for key in ("statistic", "runs", "method", "status", "source")}
        stated |= {"hub ids": ", ".join(table.hub_ids) or NOT_STATED, "protocol": table.protocol_name}
        stated |= {key: value for key in ("rank", "parameters") if (value := getattr(table, key))}
        notes = [f"{key}: {value}" for key, value in stated.items()]
        notes += [text for text in (table.protocol, table.convention_evidence, table.note) if text]
        command = f"Reproduce: {shown['command']}" if shown["command"] else "No protocol of conf/protocol follows it."
        notes += [*shown["unreachable"], command]
        headers = ["dev rows" if key == "n" else key for key in _OF_SCORE]
        write_table(headers, cells, title=f"{table.name}: {table.title}", notes=notes, out=arguments.out)
    else:
        titles, cells = [tasks[name].title for name in CARD_TASKS], list[list[str]]()
        for table in chosen:
            from_mnli = sum(score.start == "mnli" for score in table.scores.values())
            starts = dict.fromkeys(score.start for score in table.scores.values())
            start = f"MNLI for {from_mnli}" if from_mnli else " or ".join(starts)
            statistic = f"{table.statistic} of {table.runs}" if table.runs and table.runs > 1 else table.statistic
            scores = [f"{table.scores[name].value:.1f}" if name in table.scores else "" for name in CARD_TASKS]
            cells.append([table.name, table.protocol_name, table.method, statistic, start, table.status, *scores])
        headers = ["row", "protocol", "method", "statistic", "start", "status", *titles]
        write_table(headers, cells, title=plural(len(chosen), "published row"), out=arguments.out)
    return 0


def _check(words: Sequence[str], tasks: dict[str, TaskConfig]) -> int:
    if len(words) != 1:
        raise UsageError("published check: takes one FILE")
    try:
        tables = read_published(Path(words[0]))
    except (OSError, ValueError) as error:
        raise InputError(f"{words[0]}: not a table of published numbers ({error})") from error
    notes = [f"{table.name}: {note}" for table in tables for note in table.unreachable(tasks)]
    write_output("".join(f"{visible(note)}\n" for note in notes), None)
    say(f"checked {plural(len(tables), 'row')}: {plural(len(notes), 'number')} that no single run can have")
    return 0


def _facts(table: PublishedTable, tasks: dict[str, TaskConfig], *, encoders: dict[str, str]) -> dict[str, Any]:
    """Return all that is known of a row, and what follows from it: metrics in words, notes, the command."""
    facts: dict[str, Any] = asdict(table) | {"scores": [], "unreachable": table.unreachable(tasks)}
    for score in table.scores.values():
        for one in score.pair or (score,):
            known = one.task in tasks and tasks[one.task].states(one.convention)
            parts = tasks[one.task].parts(one.convention) if known else []
            rows = sum(tasks[one.task].rows.get(split, 0) for split in {part.split for part in parts})
            own = asdict(one) | {"metric": metric_title(parts) if known else one.metric, "n": one.n or rows or None}
            facts["scores"].append({key: own[key] for key in own if key not in ("pair", "split", "source")})
    facts["command"], protocol = None, table.protocol_name
    if protocol in group_options("protocol") and table.hub_ids and table.method in ("full", protocol):
        words = [f"protocol={protocol}", f"encoder={encoders.get(table.hub_ids[0].lower(), table.hub_ids[0])}"]
        words += [f"tasks=[{','.join(table.scores)}]"]
        words += ["init=pretrained"] if {score.start for score in table.scores.values()} == {"pretrained"} else []
        facts["command"] = f"glue-bench sweep {' '.join(words)}"
    return facts
