"""The words with which `predict` and `card` name a finished run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.compose import compose_run
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.finished import FinishedRun, find_finished
from glue_bench.records import RunStore

_KEYS = ("run_id", "task", "encoder", "seed", "results_dir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The run that was named, and what else the words say."""

    run: FinishedRun
    results_dir: Path
    device: str


def choose_run(words: Sequence[str], verb: str, *, more: Sequence[str] = ()) -> Choice:
    """The one finished run with weights that KEY=VALUE words name.

    Args:
        more: keys of the configuration that this verb obeys too.

    Raises:
        UsageError: an unknown key, a wrong value, or no run or several that answer.
        InputError: the run kept no weights.
    """
    given = dict[str, str]()
    for word in words:
        key, equals, value = word.partition("=")
        if key not in (*_KEYS, *more) or not equals or not value:
            raise UsageError(f"{word}: `{verb}` takes KEY=VALUE{did_you_mean(key, (*_KEYS, *more))}")
        given[key] = value
    if not given.get("seed", "0").isdecimal():
        raise UsageError(f"seed={given['seed']}: allowed is a whole number")
    # Composed only for the defaults, which live in conf/, and for the checks.
    composed = [word for word in words if word.partition("=")[0] in ("results_dir", *more)]
    config = compose_run([*composed, "task=rte"])
    results_dir = Path(config.results_dir)
    if "results_dir" in given and not results_dir.is_dir():
        raise UsageError(f"results_dir={results_dir}: no such folder")
    run = find_finished(
        RunStore(results_dir),
        encoder=given.get("encoder"),
        task=given.get("task"),
        seed=int(given["seed"]) if "seed" in given else None,
        run_id=given.get("run_id"),
        need_model=True,
    )
    return Choice(run=run, results_dir=results_dir, device=config.trainer.device)
