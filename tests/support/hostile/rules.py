"""What every command has to obey, whatever its world is like."""

from collections.abc import Iterator

from glue_bench.runs.store import RunStore
from tests.support.hostile.trial import Trial
from tests.support.hostile.world import SECONDS, picture

_CODES = {0, 1, 2, 3, 4, 74, 75}


def judge(trial: Trial, code: int | None, *, out: str, err: str, before: dict[str, str]) -> Iterator[str]:
    """Yield every rule that the command broke."""
    if code is None:
        yield f"no end within {SECONDS:.0f} seconds"
    elif code not in _CODES:
        yield f"exit code {code}"
    if "internal error" in err or "Traceback" in err or "Exception ignored" in err:
        yield "an unforeseen error"
    for log in trial.world.glob("results/runs/*/*/*/error.log"):
        yield f"a run failed with {log.read_text().strip().splitlines()[-1][:150]}"
    said = [line for line in err.splitlines() if line.startswith("glue-bench: ")]
    if any(len(line) > 650 for line in err.splitlines()):
        yield "a line of more than 600 characters"
    if code in (2, 3, 4, 74) and trial.words[0] not in ("doctor", "submit"):
        last = err[err.rfind("\nglue-bench: ") + 1 :] if said else ""
        if not said or len(last.splitlines()) > 3 or "warning" in last[:25]:
            yield f"a message of {len(last.splitlines())} lines"
    if any(ord(char) < 32 and char not in "\n\t" for char in out + err) or "\u202e" in err:
        yield "a control character"
    if "hf_secret" in out + err:
        yield "the environment's secret"
    if code == 0 and trial.trains:
        newest = max(trial.world.glob("results/runs/*/*/*/record.json"), key=lambda path: path.stat().st_mtime_ns)
        if RunStore(trial.world / "results").load(*newest.parent.parts[-3:]) is None:
            yield "the record of the new run cannot be read"
    after = picture(trial.world, trial.allowed)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            did = "deleted" if name not in after else "changed" if name in before else "made"
            yield f"{name} was {did}"
