"""The words with which `predict` and `card` name a finished run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.cli.results import read_seed, read_words, results_folder
from glue_bench.config.compose import compose_run
from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.store import RunStore

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
    given = read_words(words, (*_KEYS, *more), verb=verb)
    seed = read_seed(given)
    # Composed only for the defaults, which live in conf/, and for the checks.
    composed = [f"{key}={value}" for key, value in given.items() if key in ("results_dir", *more)]
    config = compose_run([*composed, "task=rte"])
    results_dir = results_folder(config, given)
    run = find_finished(
        RunStore(results_dir),
        encoder=given.get("encoder"),
        task=given.get("task"),
        seed=seed,
        run_id=given.get("run_id"),
        need_model=True,
    )
    return Choice(run=run, results_dir=results_dir, device=config.trainer.device)
