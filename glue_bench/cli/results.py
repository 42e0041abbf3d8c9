"""What the verbs that read finished runs share: their KEY=VALUE words, the folder of results, and its records."""

from collections.abc import Collection, Sequence
from pathlib import Path

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import RunConfig
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore


def read_words(
    words: Sequence[str], known: Collection[str], *, verb: str, listed: Collection[str] = ()
) -> dict[str, str]:
    """Key to value; of several words with one key the last counts.

    Args:
        listed: the known keys that an error lists, where these are not all.

    Raises:
        UsageError: an unknown key, or one without a value.
    """
    given = dict[str, str]()
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise UsageError(f"{word}: not a key of `{verb}`{did_you_mean(key, listed or known)}")
        if not value:
            raise UsageError(f"{word}: `{verb}` takes KEY=VALUE")
        given[key] = value
    return given


def read_seed(given: dict[str, str]) -> int | None:
    """The one seed that was named, if any.

    Raises:
        UsageError: it is no whole number.
    """
    seed = given.get("seed")
    if seed is not None and not seed.isdecimal():
        raise UsageError(f"seed={seed}: one whole number")
    return None if seed is None else int(seed)


def results_folder(config: RunConfig, given: Collection[str]) -> Path:
    """The folder of results.

    Args:
        given: the keys that words named.

    Raises:
        UsageError: it was named, and is not there.
    """
    folder = Path(config.results_dir)
    if "results_dir" in given and not folder.is_dir():
        raise UsageError(f"results_dir={folder}: no such folder")
    return folder


def results_of(words: Sequence[str], *, verb: str) -> Path:
    """The folder that results_dir=FOLDER names, or the default.

    Raises:
        UsageError: another key, or no such folder.
    """
    given = read_words(words, ["results_dir"], verb=verb)
    # Composed only to learn the default of results_dir, which lives in conf/.
    return results_folder(compose_run([*words, "task=rte"]), given)


def open_results(folder: Path) -> tuple[RunStore, list[Record]]:
    """The store, and every record in it that can be read."""
    store = RunStore(folder)
    return store, list(store.load_all())
