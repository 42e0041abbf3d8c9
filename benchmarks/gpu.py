"""Everything there is to measure on a GPU, in parts: each in a process of its own, with a time limit.

    python benchmarks/gpu.py --out results/gpu.json [--parts versions,worker,...] [--work FOLDER] [--set KEY=VALUE ...]

Runs from a checkout; the project need not be installed, and nothing is fetched. The file keeps an entry for each part,
written as soon as the part ends, so that several calls can measure all of them; `seed` and `seeds` continue where the
last call was cut off, if --work is the same. --set gives keys of the configuration to the parts that train; the entry's
name then says so. --toy tries every part on a CPU, in a size that measures nothing.
"""

import argparse
import contextlib
import datetime
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# In this order: the module that has the part, and its limit in seconds.
PARTS = {
    "versions": ("gpu_machine", 120),
    "worker": ("gpu_machine", 120),
    "shares": ("gpu_machine", 120),
    "tests": ("gpu_machine", 240),
    "profile": ("gpu_updates", 150),
    "shapes": ("gpu_machine", 120),
    "step": ("gpu_updates", 240),
    "concurrent": ("gpu_updates", 360),
    "rivals": ("gpu_rivals", 480),
    "seed": ("gpu_sweeps", 360),
    "seeds": ("gpu_sweeps", 900),
}
CHECKOUT = Path(__file__).resolve().parent.parent
GRACE = 30  # seconds in which a part may stop by itself after its limit


def main() -> int:
    """Measure, print, keep; 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help="some, with commas")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "glue-bench-gpu")
    parser.add_argument("--device", help="cuda, or cpu with --toy")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5, help="of the part `seeds`")
    parser.add_argument("--limit", type=float, help="seconds for each part, in place of its own limit")
    parser.add_argument("--minutes", type=float, default=25, help="for all parts together, toys apart")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)  # in the process of a part
    words = parser.parse_args()
    if unknown := [name for name in words.parts if name not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)}; must be among {', '.join(PARTS)}")
    words.device = words.device or ("cpu" if words.toy else "cuda")
    words.work.mkdir(parents=True, exist_ok=True)
    if words.one:
        carry_out(words)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # `measure` then ends the part that runs
    kept = json.loads(words.out.read_text()) if words.out.exists() else {}
    failed, ends = False, float("inf") if words.toy else time.monotonic() + 60 * words.minutes - GRACE
    for name in words.parts:
        entry = measure(name, words, left=ends - time.monotonic())
        failed |= entry["status"] != "done"
        kept[" ".join([name, *words.set])] = entry
        words.out.parent.mkdir(parents=True, exist_ok=True)
        part = words.out.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        part.replace(words.out)
        print(f"== {name}: {entry['status']}, {entry['seconds']} s", *show(entry["result"], "  "), sep="\n", flush=True)
        if entry["status"] != "done":
            print(entry["output"])
    return int(failed)


def measure(name: str, words: argparse.Namespace, *, left: float) -> dict[str, Any]:
    """Carry out a part in a process group of its own, which ends with it, in the seconds that are left at most."""
    found = words.work / f"{name}.result.json"
    found.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--one", name, "--work", str(words.work), "--device", words.device]
    command += [f"--seeds={words.seeds}", *["--toy"] * words.toy] + (["--set", *words.set] if words.set else [])
    paths = [str(CHECKOUT), str(CHECKOUT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    limit = words.limit or (4 if words.toy else 1) * PARTS[name][1]  # CPUs are slow
    limit = min(limit, max(1, left))
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
        "PART_SECONDS": str(limit),
        **({"OMP_NUM_THREADS": "1"} if words.toy else {}),  # threads wait for each other where cores are busy
    }
    log, began, late = words.work / f"{name}.log", time.monotonic(), f"timed out after {limit:g} s"
    status = late
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            if process.wait(limit) == 0:
                status = "done"
            elif time.monotonic() - began < limit:  # else the part has seen itself that its time was over
                status = f"error: exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            status = late
        finally:
            end_group(process)
    output = log.read_text(errors="replace").replace(str(CHECKOUT), ".")
    return {
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": words.device,
        **({"toy": True} if words.toy else {}),
        "result": json.loads(found.read_text()) if found.exists() else {},
        "output": "" if status == "done" else output[-3000:],
    }


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a part: first the way that lets a sweep keep its snapshots."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Job:
    """The settings of a part, and where it writes its results; `keep` may be called often."""

    def __init__(self, words: argparse.Namespace) -> None:
        """Take it from the command line."""
        self.work, self.device, self.toy = words.work.resolve(), words.device, words.toy
        self.seeds: int = 2 if self.toy else words.seeds
        self.words: list[str] = [*words.set, *["trainer.device=cpu"] * (words.device == "cpu")]
        self._end = time.monotonic() + float(os.environ["PART_SECONDS"])
        self._found = words.work / f"{words.one}.result.json"

    def keep(self, result: Mapping[str, Any]) -> None:
        """Write what was found so far."""
        part = self._found.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.replace(self._found)

    @property
    def left(self) -> float:
        """Seconds until the part is ended."""
        return self._end - time.monotonic()

    def material(self) -> Path:
        """Make rows and encoder, or find them."""
        from gpu_material import prepare

        return prepare(self.work, toy=self.toy)


def carry_out(words: argparse.Namespace) -> None:
    """Be the process of a part."""
    module = importlib.import_module(PARTS[words.one][0])
    getattr(module, words.one)(Job(words))


def show(value: Any, indent: str) -> list[str]:
    """Lay out a result as text, short things on one line."""
    if not isinstance(value, dict):
        return [indent + json.dumps(value)]
    lines = []
    for name, content in value.items():
        text = json.dumps(content)
        if len(text) < 150 or not isinstance(content, dict | list):
            lines.append(f"{indent}{name}: {text}")
        elif isinstance(content, dict):
            lines += [f"{indent}{name}:", *show(content, indent + "  ")]
        else:
            lines += [f"{indent}{name}:", *(f"{indent}  {json.dumps(item)}" for item in content)]
    return lines


if __name__ == "__main__":
    sys.exit(main())
