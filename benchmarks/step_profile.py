"""Where the time of one training update goes.

    python benchmarks/step_profile.py --data FOLDER --task cola [--encoder distilroberta-size] [--updates 20]

One thread, one core; batches of 32. Prints Markdown: share of the self time of torch's operations, by what they do.
NumPy and Python between the operations are in none of the shares.
"""

import argparse
import dataclasses
import os
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from material import BATCH, Case, prepare
from torch.profiler import ProfilerActivity, profile

from glue_bench.config.compose import compose_run
from glue_bench.data.encoding import TextEncoder
from glue_bench.data.rows import load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.models.classifier import load_classifier
from glue_bench.models.placement import choose_placement, keep_freed_memory
from glue_bench.training.updates import Updates, shuffled_batches

WARMUP = 5  # updates before the profile
PARTS = {
    "matrix products of linear layers": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "matrix products of attention": ("aten::bmm", "aten::baddbmm"),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "layer norm": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "AdamW": ("aten::_fused_adamw_",),
    "gradient norm": ("aten::linalg_vector_norm",),
    "copies between tokens and attention blocks, lookups": (
        "aten::index_select",
        "aten::index_copy_",
        "aten::index_add_",
        "aten::copy_",
    ),
    "dropout and residuals": ("aten::ge", "aten::mul_", "aten::mul", "aten::addcmul", "aten::add", "aten::add_"),
    "zeros": ("aten::fill_", "aten::zero_"),
    "sums of bias gradients": ("aten::sum",),
}


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="cola")
    parser.add_argument("--encoder", choices=["minilm", "distilroberta-size"], default="minilm")
    parser.add_argument("--updates", type=int, default=20)
    words = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    keep_freed_memory()
    with TemporaryDirectory() as work:
        encoder, rows = prepare(Case(words.encoder, words.task, WARMUP + words.updates), words.data, Path(work))
        shares, whole = measure(encoder, rows, words.task)
    profiled = sum(shares.values())
    print(f"| {words.encoder}, {words.task}: part of an update | share |\n|---|--:|")
    for part, seconds in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"| {part} | {100 * seconds / profiled:.1f} % |")
    print(f"\n{1000 * whole / words.updates:.0f} ms an update without the profiler")


def measure(encoder: Path, rows: Path, task: str) -> tuple[dict[str, float], float]:
    """Seconds of each part of the updates, and of the whole without a profiler."""
    config = compose_run(
        [f"task={task}", "encoder=custom", f"encoder.path={encoder}", "data=local", f"data.path={rows}"]
    )
    data = load_task_data(resolve_source(config.data, config.task), config.data, task=config.task).splits["train"]
    encoded = TextEncoder(encoder, max_length=512).encode(data)
    model = load_classifier(encoder, outputs=2, head_seed=1)
    model.cut_vocabulary(encoded.tokens)
    model.train()
    batches = list(shuffled_batches(len(encoded), batch_size=BATCH, seed=1, epoch=0))
    settings = dataclasses.replace(config.trainer, batch_size=BATCH, epochs=1)
    placement = choose_placement("cpu", "auto", multiply="auto")
    updates = Updates(model, encoded, labels=data.labels, settings=settings, placement=placement)
    with placement.algorithms():
        for step, batch in enumerate(batches[:WARMUP]):
            updates.update(batch, seed=step)
        started = time.perf_counter()
        for step, batch in enumerate(batches[WARMUP:], WARMUP):
            updates.update(batch, seed=step)
        whole = time.perf_counter() - started
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for step, batch in enumerate(batches[WARMUP:], WARMUP):
                updates.update(batch, seed=step)
    part_of = {name: part for part, names in PARTS.items() for name in names}
    shares: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        shares[part_of.get(event.key, "torch's other operations and autograd")] += event.self_cpu_time_total / 1e6
    return shares, whole


if __name__ == "__main__":
    main()
