"""A copy of tests/golden/results_of_v1, and the recorded output of the report and `load_results`.

python -m tests.support.results_of_v1       rewrites tests/golden/results_of_v1.json and .csv
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from glue_bench import load_results
from glue_bench.cli import main as glue_bench

DATA = Path(__file__).parents[1] / "golden"
GOLDEN = Path(__file__).parents[1] / "golden"
NAME = "results_of_v1"
# The arguments of the commands that made it, as in tests/golden/make_results_of_v1.sh.
WORDS = (
    "encoder=custom",
    "encoder.path=tiny_encoder",
    "encoder.name=tiny",
    "data=local",
    "data.path=tiny_rows",
    f"results_dir={NAME}",
    "executor=serial",
    "trainer.device=cpu",
    "trainer.max_length=64",
    "trainer.batch_size=4",
    "trainer.epochs=25",
    "trainer.learning_rate=3e-3",
    "trainer.weight_decay=0",
    "trainer.log_every=25",
)
NEWER = ("differs",)  # fields of a row that the first version did not write
_SENTENCES = ("note", "footnotes", "verdict_reason", "published_source")


def changed(*changes: str) -> list[str]:
    """Return the words with other values; a change that ends in `=` removes its key."""
    keys = {change.partition("=")[0] for change in changes}
    kept = [word for word in WORDS if word.partition("=")[0] not in keys]
    return [*kept, *(change for change in changes if not change.endswith("="))]


def lay_out(folder: Path) -> Path:
    """Copy the results, their encoder and their rows to `folder`; return the results."""
    for name in (NAME, "tiny_encoder", "tiny_rows"):
        shutil.copytree(DATA / name, folder / name)
    plan = folder / NAME / "plan.jsonl"
    plan.write_text(plan.read_text().replace("@FOLDER@", str(folder)))
    return folder / NAME


def call(*words: str) -> tuple[int, str, str]:
    """Run one command in this process; return exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = glue_bench(list(words))
    return code, out.getvalue(), err.getvalue()


def report_facts() -> Any:
    """Return what `report --format json` writes, without its sentences, whose wording may change, and newer fields."""
    code, out, _ = call("report", "--format", "json", f"results_dir={NAME}")
    assert code == 0
    content = _without_sentences(json.loads(out))
    for section in content["sections"]:
        section["rows"] = sorted(({k: v for k, v in row.items() if k not in NEWER} for row in section["rows"]), key=str)
    return content


def _without_sentences(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "..." if key in _SENTENCES else _without_sentences(inner) for key, inner in value.items()} | {
            key: sorted(value[key]) for key in ("degenerate", "unfinished") if key in value
        }
    return [_without_sentences(inner) for inner in value] if isinstance(value, list) else value


def frame_text() -> str:
    """Return the frame of `load_results` as CSV, with the columns of then."""
    known = (GOLDEN / f"{NAME}.csv").read_text(encoding="utf-8").partition("\n")[0].split(",")
    frame = load_results(NAME)[known]
    # One version of pandas writes six digits of a second, another three.
    frame["ended"] = frame["ended"].map(lambda when: when.isoformat(" ", "milliseconds"), na_action="ignore")
    return str(frame.to_csv(index=False))


def main() -> None:
    """Record the report and the frame."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        os.chdir(folder)
        (GOLDEN / f"{NAME}.json").write_text(json.dumps(report_facts(), indent=1) + "\n")
        (GOLDEN / f"{NAME}.csv").write_text(frame_text())


if __name__ == "__main__":
    main()
