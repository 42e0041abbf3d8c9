"""The ways that glue-bench is compared with, each in a process of its own; writes seconds of training and evaluation.

    python benchmarks/rival_ways.py WAY --task cola --data FOLDER --encoder FOLDER --out FILE.json [--onednn]

trainer-128      transformers.Trainer, every row padded to 128, as run_glue.py ships
trainer-dynamic  transformers.Trainer, padded to the longest row of the batch: the same batches as trainer-128
trainer-grouped  transformers.Trainer, rows of like length grouped: other batches, the least padding that it can do
cross-encoder    sentence-transformers' CrossEncoder and its trainer, padded to the longest row of the batch; pairs only
plain            a minimal loop in PyTorch, padded to the longest row of the batch

With --onednn, torch's switch sends float32 products to oneDNN; an error where that is not float32's accuracy. Knows
nothing of glue_bench.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from material import BATCH, TEXTS
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

EVAL_BATCH = 64
ARGUMENTS: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": BATCH,
    "per_device_eval_batch_size": EVAL_BATCH,
    "learning_rate": 2e-5,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
}


class Clock(TrainerCallback):
    """Seconds from the first update's beginning to the last one's end."""

    started = ended = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start at the first."""
        self.started = self.started or time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Move on with every one."""
        self.ended = time.perf_counter()


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=["trainer-128", "trainer-dynamic", "trainer-grouped", "cross-encoder", "plain"])
    parser.add_argument("--task", required=True)
    for name in ("data", "encoder", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--onednn", action="store_true")
    words = parser.parse_args()
    if words.onednn:
        use_onednn()
    seconds = cross_encoder(words) if words.way == "cross-encoder" else tokenized(words)
    words.out.write_text(json.dumps(dict(zip(("train", "eval"), seconds, strict=True))))


def use_onednn() -> None:
    """Turn the switch, and look at a product: it permits bfloat16, which processors with AMX then use."""
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    left, right = torch.randn(192, 384), torch.randn(384, 512)
    exact = left.double() @ right.double()
    if (error := float((left @ right - exact).norm() / exact.norm())) > 1e-6:
        raise SystemExit(f"--onednn: products have a relative error of {error:.0e} here, which is not float32")


def tokenized(words: argparse.Namespace) -> tuple[float, float]:
    """The ways that get tokens."""
    tokenizer = AutoTokenizer.from_pretrained(words.encoder)
    to_128 = {"padding": "max_length", "max_length": 128} if words.way == "trainer-128" else {"max_length": 512}
    train, validation = (
        encode(words.data / words.task / f"{split}.parquet", words.task, tokenizer, to_128)
        for split in ("train", "validation")
    )
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(words.encoder, num_labels=2)
    if words.way == "plain":
        return plain(model, train, validation, DataCollatorWithPadding(tokenizer))
    collate = default_data_collator if words.way == "trainer-128" else DataCollatorWithPadding(tokenizer)
    return with_trainer(words.way, model, train, validation, collate)


def encode(path: Path, task: str, tokenizer: Any, padding: dict[str, Any]) -> list[dict[str, Any]]:
    """Every row of a file as a collator wants it."""
    frame = pd.read_parquet(path)
    encoded = tokenizer(*(frame[column].tolist() for column in TEXTS[task]), truncation=True, **padding)
    return [
        {**{key: values[row] for key, values in encoded.items()}, "labels": int(label)}
        for row, label in enumerate(frame["label"])
    ]


def with_trainer(way: str, model: Any, train: list[Any], validation: list[Any], collate: Any) -> tuple[float, float]:
    """transformers.Trainer: its own optimiser, loop and evaluation."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                train_sampling_strategy="group_by_length" if way == "trainer-grouped" else "random",
                **ARGUMENTS,
            ),
            train_dataset=train,
            data_collator=collate,
            callbacks=[clock],
        )
        trainer.train()
        started = time.perf_counter()
        trainer.predict(validation)  # type: ignore[arg-type]
        return clock.ended - clock.started, time.perf_counter() - started


def cross_encoder(words: argparse.Namespace) -> tuple[float, float]:
    """CrossEncoder gets texts, and makes tokens in its loss and in `predict`."""
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoder,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        losses,
    )

    columns, clock = TEXTS[words.task], Clock()
    train, validation = (
        pd.read_parquet(words.data / words.task / f"{split}.parquet") for split in ("train", "validation")
    )
    torch.manual_seed(1)
    model = CrossEncoder(str(words.encoder), num_labels=2, max_length=512, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(output_dir=folder, **ARGUMENTS),
            train_dataset=Dataset.from_pandas(train[[*columns, "label"]], preserve_index=False),
            loss=losses.CrossEntropyLoss(model),
            callbacks=[clock],
        )
        trainer.train()
    started = time.perf_counter()
    model.predict(validation[columns].values.tolist(), batch_size=EVAL_BATCH, show_progress_bar=False)
    return clock.ended - clock.started, time.perf_counter() - started


def plain(model: Any, train: list[Any], validation: list[Any], collate: Any) -> tuple[float, float]:
    """What one writes in twenty lines."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    model.train()
    started = time.perf_counter()
    for begin in range(0, len(train), BATCH):
        loss = model(**collate(train[begin : begin + BATCH])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    trained = time.perf_counter() - started
    model.eval()
    started = time.perf_counter()
    with torch.inference_mode():
        for begin in range(0, len(validation), EVAL_BATCH):
            model(**collate(validation[begin : begin + EVAL_BATCH]))
    return trained, time.perf_counter() - started


if __name__ == "__main__":
    main()
