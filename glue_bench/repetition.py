"""The command that makes a recorded run again. Knows no files, no Hydra.

The words spell out what the record's configuration says, so that they mean the same run wherever they are read:
the encoder by its place and name, changed recipe values by value.
"""

from collections.abc import Mapping
from typing import Any

from glue_bench.config import EXECUTION_KEYS
from glue_bench.records import Record

_OWN = {"precision": "auto", "engine": "auto", "accumulation": 1}  # execution values that belong to a run's identity


def repeating_words(record: Record, *, private: bool) -> list[str]:
    """The KEY=VALUE words after `glue-bench run` that stand for the record's run id.

    A task or recipe that does not ship with glue-bench needs `--config-dir` beside them. A run that starts from
    another one names the task of that one, which then gets the same words.

    Args:
        private: with this machine's folders and results_dir; False puts FOLDER in their place, for others to read.
    """
    config = record.config
    words = [f"task={record.task}", f"seed={record.seed}", *_encoder_words(record, private=private)]
    words += [*_data_words(config["data"], private=private), f"recipe={record.recipe}"]
    words += _trainer_words(config)
    if record.init != "pretrained":
        words.append(f"init={record.init.partition(':')[0]}")
    words.append(f"selection={record.selection}")  # a recipe may have one of its own
    if record.selection == "holdout":
        words.append(f"holdout={config['holdout']}")
    if private:
        words.append(f"results_dir={config['results_dir']}")
    return words


def _encoder_words(record: Record, *, private: bool) -> list[str]:
    encoder = record.config["encoder"]
    words = ["encoder=custom", f"encoder.name={record.encoder['name']}"]
    if encoder["hub_id"]:
        return [*words, f"encoder.hub_id={encoder['hub_id']}", f"encoder.revision={record.encoder['revision']}"]
    if encoder["package"]:
        return [*words, f"encoder.package={encoder['package']}"]
    return [*words, f"encoder.path={encoder['path'] if private else 'FOLDER'}"]


def _data_words(data: Mapping[str, Any], *, private: bool) -> list[str]:
    words = [f"data={data['source']}"]
    if data["source"] == "local":
        words.append(f"data.path={data['path'] if private else 'FOLDER'}")
    if data["source"] == "hub":
        words += [f"data.dataset={data['dataset']}", f"data.revision={data['revision']}"]
    limits = {key: data[key] for key in ("max_train_rows", "max_eval_rows")}
    return [*words, *(f"data.{key}={rows}" for key, rows in limits.items() if rows is not None)]


def _trainer_words(config: Mapping[str, Any]) -> list[str]:
    """The grid, and every trainer value that the recipe's name does not say."""
    trainer = config["trainer"]
    changed = dict.fromkeys([*config.get("recipe_changes", {}), *config.get("cell", {})])
    kept = [key for key in changed if key not in EXECUTION_KEYS]
    if trainer["updates"] is not None and "epochs" in kept:
        kept.remove("epochs")  # has no effect beside updates
    kept += [key for key, usual in _OWN.items() if trainer.get(key, usual) != usual]
    grid = [f"grid.{key}={_literal(values)}" for key, values in config.get("grid", {}).items()]
    return [*grid, *(f"trainer.{key}={_literal(trainer[key])}" for key in kept)]


def _literal(value: object) -> str:
    """A value in the grammar of overrides: a word, a number, a list of them, or null."""
    if isinstance(value, list):
        return f"[{','.join(_literal(item) for item in value)}]"
    return "null" if value is None else str(value)
