"""How fast is glue-bench beside the other ways to fine-tune? One core, one thread, interleaved, real rows.

    python benchmarks/speed.py --data FOLDER [--repeats 3] [--out results/speed.json] [--work FOLDER]

FOLDER holds cola/, sst2/ and mrpc/ with train.parquet and validation.parquet. Every way gets the same encoder weights,
rows, batch size and number of updates, in a process of its own on one core. Prints Markdown: rows a second, how many
times as fast glue-bench is (median, smallest and largest ratio of the repeats), the whole process, peak memory, tokens,
and the share of the core's measured matrix-product rate. What was measured is kept in --work, and the same command
continues: empty it after a change of code.
"""

import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from material import BATCH, EVALUATED, MADE, TEXTS, Case, prepare
from work import Lengths, layer_shapes, lengths_of, matmul_rate, run_flops

CASES = (
    Case("minilm", "cola", 12),
    Case("minilm", "sst2", 12),
    Case("minilm", "mrpc", 12),
    Case("distilroberta-size", "cola", 6),
    Case("distilroberta-size", "mrpc", 3),
    Case("distilroberta-size", "rte", 3),
    *(Case(name, task, 12, ("trainer-dynamic",)) for name in MADE if "small" in name for task in ("cola", "mrpc")),
)
OURS = "glue-bench"
DEFAULTS = ("trainer-128", "trainer-dynamic", "trainer-grouped", "cross-encoder", "plain")
SWITCH = "+onednn"  # after a way: with torch's switch for oneDNN's float32 products, which any loop can turn
RIVALS = (*DEFAULTS, *(way + SWITCH for way in DEFAULTS))
HERE = Path(__file__).parent


def main() -> None:
    """Measure what is missing, then print and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("results/speed"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[case.name for case in CASES])
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--updates", type=int, help="instead of a case's own")
    parser.add_argument("--ways", nargs="+", choices=RIVALS, default=RIVALS, help="beside glue-bench")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {words.core})
    torch.set_num_threads(1)
    kept, ways = [], (OURS, *words.ways)
    for known in CASES:
        case = dataclasses.replace(known, updates=words.updates or known.updates)
        if words.only in (None, case.name):
            encoder, rows = prepare(case, words.data, words.work)
            able = [way for way in ways if not case.ways or way in (OURS, *case.ways)]
            able = [way for way in able if "cross-encoder" not in way or len(TEXTS[case.task]) == 2]
            measured = [
                {way: measure(way, case, encoder, rows, words.work, repeat) for way in able}
                for repeat in range(words.repeats)
            ]
            lengths, rate = lengths_of(case, encoder, rows), dict[str, float]()
            print(table(case, measured, lengths), flush=True)
            if not case.ways:  # arithmetic is counted for BERT's layers
                for wide, narrow in layer_shapes(encoder):
                    rate[f"{wide} to {narrow}"] = matmul_rate(lengths, wide, narrow)
                print(engine_lines(encoder, measured, lengths, rate), flush=True)
            kept.append({"case": dataclasses.asdict(case), "measured": measured, "matmul_gflops": rate})
    if words.out is not None:
        machine = {"cpu": cpu_name(), "python": platform.python_version(), "torch": torch.__version__, "threads": 1}
        words.out.write_text(json.dumps({"machine": machine, "batch_size": BATCH, "cases": kept}, indent=1) + "\n")


def measure(way: str, case: Case, encoder: Path, rows: Path, work: Path, repeat: int) -> dict[str, float]:
    """Seconds of training, evaluation and the whole process, and its peak memory in MiB."""
    kept = work / f"{case.name}-{case.updates}-{way}-{repeat}.json"
    if kept.exists():
        known: dict[str, float] = json.loads(kept.read_text())
        return known
    words = [
        "--task",
        case.task,
        "--data",
        str(rows),
        "--encoder",
        str(encoder),
        "--out",
        str(kept.with_suffix(".part")),
    ]
    command = [sys.executable, str(HERE / "rival_ways.py"), way.removesuffix(SWITCH), *words]
    command += ["--onednn"] if way.endswith(SWITCH) else []
    results = work / f"{case.name}-{repeat}"
    shutil.rmtree(results, ignore_errors=True)
    if way == OURS:
        command = [sys.executable, "-m", "glue_bench", "run", f"task={case.task}", f"seed={repeat + 1}"]
        command += ["data=local", f"data.path={rows}", "encoder=custom", f"encoder.path={encoder}"]
        command += [f"encoder.name={case.encoder}", f"results_dir={results}", "trainer.device=cpu"]
        command += ["trainer.epochs=1", f"trainer.batch_size={BATCH}", "trainer.learning_rate=2e-5"]
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    whole = time.perf_counter() - started
    if way == OURS:
        (path,) = results.glob("runs/*/*/*/record.json")
        seconds = json.loads(path.read_text())["seconds"]
    else:
        seconds = json.loads(kept.with_suffix(".part").read_text())
    found = {"train": seconds["train"], "eval": seconds["eval"], "process": whole, "peak_mib": usage.ru_maxrss / 1024}
    kept.write_text(json.dumps(found))
    return found


def table(case: Case, measured: Sequence[Mapping[str, Mapping[str, float]]], lengths: Lengths) -> str:
    """Markdown: a line a way, medians over the repeats."""
    heads = (
        "way | training rows/s | glue-bench is | evaluation rows/s | glue-bench is | process s | glue-bench is | MiB"
    )
    lines = [
        f"\n{case.encoder}, {case.task}: {case.updates} updates of {BATCH} rows, {EVALUATED} rows evaluated, "
        f"{lengths.train.mean():.1f} tokens a training row, {len(measured)} repeats\n",
        f"| {heads} |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    counts = {"train": case.updates * BATCH, "eval": EVALUATED}
    for way in measured[0]:
        cells = [way]
        for phase, count in counts.items():
            cells.append(f"{count / statistics.median(repeat[way][phase] for repeat in measured):.1f}")
            cells.append(ratio(measured, way, phase))
        cells.append(f"{statistics.median(repeat[way]['process'] for repeat in measured):.1f}")
        cells.append(ratio(measured, way, "process"))
        cells.append(f"{statistics.median(repeat[way]['peak_mib'] for repeat in measured):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(measured: Sequence[Mapping[str, Mapping[str, float]]], way: str, phase: str) -> str:
    """Median ratio of the repeats, with the smallest and the largest."""
    if way == OURS:
        return ""
    ratios = [repeat[way][phase] / repeat[OURS][phase] for repeat in measured]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def engine_lines(
    encoder: Path, measured: Sequence[Mapping[str, Mapping[str, float]]], lengths: Lengths, rate: Mapping[str, float]
) -> str:
    """Tokens a second, and executed arithmetic beside the core's measured rate."""
    lines = []
    for phase, rows, backward in (("train", lengths.train, True), ("eval", lengths.validation, False)):
        seconds = statistics.median(repeat[OURS][phase] for repeat in measured)
        flops = run_flops(rows, encoder, backward=backward)
        mean = statistics.harmonic_mean(rate.values())
        lines.append(
            f"{phase}: {rows.sum() / seconds:,.0f} real tokens/s; {flops / seconds / 1e9:.1f} GFLOP/s executed, "
            f"{100 * flops / seconds / 1e9 / mean:.0f} % of the {mean:.1f} measured for the faster float32 products"
        )
    shown = ", ".join(f"{shape} {value:.1f}" for shape, value in rate.items())
    return "\n" + "\n".join(lines) + f"\n(products, GFLOP/s: {shown})"


def cpu_name() -> str:
    """As the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
