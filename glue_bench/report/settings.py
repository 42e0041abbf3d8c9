"""What tells the setting of a row from its recipe and from its neighbours. Knows no scores, no formats."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from glue_bench.report.cells import EXECUTION
from glue_bench.runs.record import Record


def representative(runs: list[Record]) -> Record:
    """A finished run, if there is one: it knows most."""
    return next((run for run in runs if run.status == "finished"), runs[0])


def describe_data(record: Record) -> str:
    """Where the rows came from, in words."""
    source = record.data["source"]
    return {
        "hub": f"{record.data.get('dataset')} on the hub",
        "local": "local files",
        "sample": "sample data",
    }[source]


def recipe_changes(record: Record) -> dict[str, str]:
    """The trainer values that are not the recipe's."""
    return dict(record.config.get("recipe_changes") or {})


def common_changes(groups: list[list[Record]]) -> dict[str, str]:
    """The changed trainer values, if every row of the section has the same ones; else each row tells its own."""
    configs = [representative(runs).config for runs in groups]
    names = dict.fromkeys(name for config in configs for name in config.get("recipe_changes") or {})
    values = {name: {str(config["trainer"].get(name)) for config in configs} for name in names}
    return {name: found.pop() for name, found in values.items()} if all(len(v) == 1 for v in values.values()) else {}


def setting_notes(record: Record, differing: list[str], changes: Mapping[str, str]) -> list[str]:
    """What tells this row's setting from the recipe and from its neighbours."""
    facts = setting_facts(record)
    told = {f"trainer.{name}": value for name, value in recipe_changes(record).items() if name not in changes}
    differing = [key for key in differing if key in facts]  # the values of a cell are told with its grid
    return [f"{key}={value}" for key, value in ({key: facts[key] for key in differing} | told).items()]


def differing_facts(groups: list[list[Record]]) -> dict[str, list[str]]:
    """For a task with several settings, the names of the facts in which they differ."""
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for runs in groups:
        if any(run.status == "finished" for run in runs):  # of others too little is known
            by_task[runs[0].task].append(setting_facts(representative(runs)))
    return {
        task: [name for name in facts[0] if len({str(other.get(name)) for other in facts}) > 1]
        for task, facts in by_task.items()
    }


def setting_facts(record: Record) -> dict[str, Any]:
    """What can tell two settings apart, by the name that a reader knows."""
    config = record.config
    apart = {*EXECUTION, *(config.get("cell") or {})}
    facts = {f"trainer.{key}": value for key, value in config["trainer"].items() if key not in apart}
    facts["selection"] = record.selection
    if record.selection == "holdout":
        facts["holdout"] = config.get("holdout")
    facts |= {f"data.{key}": config["data"].get(key) for key in ("max_train_rows", "max_eval_rows")}
    facts |= {"data.fingerprint": record.data.get("fingerprint"), "precision": record.precision}
    facts["encoder.weights_sha256"] = str(record.encoder.get("weights_sha256"))[:12]
    return facts
