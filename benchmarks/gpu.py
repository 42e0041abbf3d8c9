"""The full eight tasks on a GPU, and transformers.Trainer padded to 128 beside them, in one call.

    python benchmarks/gpu.py [--share 1.0] [--epochs 3] [--device cuda] [--out results/gpu.json]

No text and no weights are needed: random tokens in GLUE's official row counts with each task's mean length, and random
weights in DistilRoBERTa's exact size. bfloat16 where the device has it. --share takes that part of the rows; Trainer
trains TRAINER_UPDATES updates only and its time is scaled to all of them. Prints minutes, updates, real tokens and
TFLOP/s a second, and the share of the device's own measured matrix-product rate.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import BATCH
from rival_ways import Clock
from transformers import (
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from work import size_flops

from glue_bench.config.compose import compose_run
from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import FlatClassifier
from glue_bench.models.families import RobertaHead, initialise
from glue_bench.models.flat import FlatEncoder
from glue_bench.models.placement import Placement, choose_placement
from glue_bench.training.seeds import SeedStreams
from glue_bench.training.trainer import fit, predict

# Rows of training and validation, and the mean tokens of a row.
TASKS = {
    "mnli": (392_702, 19_647, 39),
    "qqp": (363_846, 40_430, 30),
    "qnli": (104_743, 5_463, 50),
    "sst2": (67_349, 872, 14),
    "cola": (8_551, 1_043, 11),
    "stsb": (5_749, 1_500, 31),
    "mrpc": (3_668, 408, 53),
    "rte": (2_490, 277, 73),
}
VOCABULARY, TRAINER_UPDATES = 50265, 50


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    placement = choose_placement(words.device, "auto")
    name = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else words.device
    rate = matmul_rate(placement)
    print(f"{name}, {placement.precision}, {words.epochs} epochs, batches of {BATCH}")
    print(f"products at {rate / 1e12:.1f} TFLOP/s\n")
    print("| task | updates | min | updates/s | real tokens/s | TFLOP/s | of products | rows/s | Trainer min | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    kept, whole = [], [0.0, 0.0]
    for task in words.tasks:
        rows = [max(BATCH, round(words.share * count)) for count in TASKS[task][:2]]
        train, validation = (random_rows(count, TASKS[task][2], seed) for seed, count in enumerate(rows))
        labels = np.random.default_rng(2).integers(0, 2, rows[0])
        line = ours(train, validation, labels, words.epochs, placement)
        line["trainer_seconds"] = line["updates"] * trainer_seconds_an_update(train, labels, placement)
        whole[0] += line["seconds"]
        whole[1] += line["trainer_seconds"]
        seconds, trainer_seconds = line["seconds"], line["trainer_seconds"]
        cells = [
            f"{line['updates']:.0f}",
            f"{seconds / 60:.2f}",
            f"{line['updates'] / seconds:.1f}",
            f"{line['tokens'] / seconds:,.0f}",
            f"{line['flops'] / seconds / 1e12:.2f}",
            f"{100 * line['flops'] / seconds / rate:.0f} %",
            f"{len(validation) / line['eval_seconds']:.0f}",
            f"{trainer_seconds / 60:.2f}",
            f"{trainer_seconds / seconds:.2f}",
        ]
        print(f"| {task} | {' | '.join(cells)} |", flush=True)
        kept.append({"task": task, **line})
    print(f"\nall: {whole[0] / 60:.2f} minutes; Trainer {whole[1] / 60:.2f}: {whole[1] / whole[0]:.2f} times as long")
    if words.out is not None:
        words.out.write_text(json.dumps({"device": name, "products_flops": rate, "tasks": kept}, indent=1) + "\n")


def configuration() -> RobertaConfig:
    """DistilRoBERTa's size."""
    return RobertaConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=6,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )


def random_rows(count: int, mean: int, seed: int) -> Encoded:
    """Log-normal lengths around a mean, 5 to 256 tokens; word frequencies fall as in text."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.round(rng.lognormal(np.log(mean) - 0.08, 0.4, count)), 5, 256).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = (5 + (VOCABULARY - 6) * rng.random(offsets[-1]) ** 4).astype(np.int32)
    return Encoded(tokens=tokens, types=np.zeros(len(tokens), np.uint8), offsets=offsets, truncated=0)


def ours(
    train: Encoded, validation: Encoded, labels: np.ndarray[Any, Any], epochs: int, placement: Placement
) -> dict[str, float]:
    """The shared trainer, as `glue-bench run` calls it."""
    config = configuration()
    torch.manual_seed(0)
    transformer, head = RobertaModel(config, add_pooling_layer=False), RobertaHead(config, 2)
    initialise(head, std=0.02, seed=1)
    model = FlatClassifier(FlatEncoder(transformer, config), head=head, config=config)
    model.cut_vocabulary(np.concatenate([train.tokens, validation.tokens]))
    settings = compose_run(
        ["task=rte", "trainer.batch_size=32", f"trainer.epochs={epochs}", "trainer.log_every=100"]
    ).trainer
    common: dict[str, Any] = {"settings": settings, "streams": SeedStreams.from_seed(1), "placement": placement}
    result = fit(model, train, labels=labels, history=[], **common)
    started = time.perf_counter()
    predict(model, validation, batch_size=64, placement=placement)
    return {
        "updates": result.steps,
        "seconds": result.seconds,
        "tokens": result.tokens,
        "flops": epochs * size_flops(train.lengths(), hidden=768, inner=3072, layers=6, backward=True),
        "eval_seconds": time.perf_counter() - started,
    }


def trainer_seconds_an_update(train: Encoded, labels: np.ndarray[Any, Any], placement: Placement) -> float:
    """transformers.Trainer, padded to 128 as run_glue.py ships, after as many updates to warm up."""
    count = min(len(train), TRAINER_UPDATES * BATCH)
    rows = []
    for row in range(count):
        ids = train.tokens[train.offsets[row] : train.offsets[row + 1]][:128].tolist()
        padding = 128 - len(ids)
        mask = [1] * len(ids) + [0] * padding
        rows.append({"input_ids": ids + [1] * padding, "attention_mask": mask, "labels": int(labels[row])})
    trainer = Trainer(
        model=RobertaForSequenceClassification(configuration()),
        args=TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            bf16=placement.precision == "bfloat16",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=placement.device.type == "cpu",
        ),
        train_dataset=rows,
        data_collator=default_data_collator,
    )
    trainer.train()
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    if placement.device.type == "cuda":
        torch.cuda.synchronize()
        clock.on_step_end()
    return (clock.ended - clock.started) / -(-count // BATCH)


def matmul_rate(placement: Placement) -> float:
    """FLOP/s of a large product in the precision of training: the best of five."""
    size = 8192 if placement.device.type == "cuda" else 1024
    kind = torch.bfloat16 if placement.precision == "bfloat16" else torch.float32
    left, right = (torch.randn(size, size, device=placement.device, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(5):
            product = left @ right
        product[0, 0].item()
        best = min(best, (time.perf_counter() - started) / 5)
    return 2 * size**3 / best


if __name__ == "__main__":
    main()
