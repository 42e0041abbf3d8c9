"""What tells the setting of a row from its recipe and from its neighbours. Knows no scores, no formats."""

from collections import defaultdict
from collections.abc import Mapping

from glue_bench.runs.record import Record
from glue_bench.runs.setting import Setting


def representative(runs: list[Record]) -> Record:
    """A finished run, if there is one: it knows most."""
    return next((run for run in runs if run.status == "finished"), runs[0])


def common_changes(settings: list[Setting]) -> dict[str, str]:
    """The changed trainer values, if every row of the section has the same ones; else each row tells its own."""
    names = dict.fromkeys(name for setting in settings for name in setting.recipe_changes)
    values = {name: {str(setting.trainer.get(name)) for setting in settings} for name in names}
    return {name: found.pop() for name, found in values.items()} if all(len(v) == 1 for v in values.values()) else {}


def differing_facts(groups: list[list[Record]]) -> dict[str, list[str]]:
    """For a task with several settings, the names of the facts in which they differ."""
    by_task: dict[str, list[Setting]] = defaultdict(list)
    for runs in groups:
        if any(run.status == "finished" for run in runs):  # of others too little is known
            by_task[runs[0].task].append(Setting.of(representative(runs)))
    return {task: [*first.difference(*others, but=("init", "grid"))] for task, (first, *others) in by_task.items()}


def setting_notes(setting: Setting, differing: list[str], changes: Mapping[str, str]) -> list[str]:
    """What tells this row's setting from the recipe and from its neighbours; a cell is told with its grid."""
    facts = setting.facts()
    told = {
        name: facts[name] for name in differing if name in facts and name.removeprefix("trainer.") not in setting.cell
    }
    told |= {f"trainer.{name}": value for name, value in setting.recipe_changes.items() if name not in changes}
    return [f"{name}={value}" for name, value in told.items()]
