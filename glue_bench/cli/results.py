"""What the verbs that read finished runs share: the folder of results, and its records."""

from collections.abc import Sequence
from pathlib import Path

from glue_bench.compose import compose_run
from glue_bench.errors import UsageError
from glue_bench.records import Record, RunStore


def results_of(words: Sequence[str], *, verb: str) -> Path:
    """The folder that results_dir=FOLDER names, or the default.

    Raises:
        UsageError: another key, or no such folder.
    """
    for word in words:
        if not word.startswith("results_dir="):
            raise UsageError(f"{word}: `{verb}` takes results_dir=FOLDER only")
    # Composed only to learn the default of results_dir, which lives in conf/.
    folder = Path(compose_run([*words, "task=rte"]).results_dir)
    if words and not folder.is_dir():
        raise UsageError(f"results_dir={folder}: no such folder")
    return folder


def open_results(folder: Path) -> tuple[RunStore, list[Record]]:
    """The store, and every record in it that can be read."""
    store = RunStore(folder)
    return store, list(store.load_all())
