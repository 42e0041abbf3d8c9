"""One fine-tune with transformers.Trainer alone, padded per batch: the yardstick of agreement.py.

    python benchmarks/trainer_way.py --task mrpc --seed 1 --data FOLDER --encoder FOLDER --out scores.json ...

Knows nothing of glue_bench: rows by pandas, tokens by AutoTokenizer, scores by scikit-learn.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

TEXTS = {"cola": ["sentence"], "sst2": ["sentence"], "mrpc": ["sentence1", "sentence2"]}


def main() -> None:
    """Train, evaluate once at the end, write the scores."""
    words = parse_words()
    tokenizer = AutoTokenizer.from_pretrained(words.encoder)
    train = encode(words.data / words.task / "train.parquet", words, tokenizer)[: words.max_train_rows]
    validation = encode(words.data / words.task / "validation.parquet", words, tokenizer)
    model = load_model(words)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=settings(words, folder, len(train)),
            train_dataset=train,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        output = trainer.predict(validation)  # type: ignore[arg-type]
    predictions = np.asarray(output.predictions).argmax(axis=1)
    labels = np.array([row["labels"] for row in validation])
    words.out.write_text(json.dumps({"scores": scores(words.task, labels, predictions)}))


def parse_words() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "encoder", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--task", choices=TEXTS, required=True)
    for name in ("seed", "epochs", "batch-size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--max-train-rows", type=int)
    for name in ("learning-rate", "warmup", "weight-decay", "epsilon", "clip-norm"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--betas", type=float, nargs=2, required=True)
    return parser.parse_args()


def encode(path: Path, words: argparse.Namespace, tokenizer: Any) -> list[dict[str, Any]]:
    """Every row of a file as the Trainer wants it."""
    frame = pd.read_parquet(path)
    encoded = tokenizer(*(frame[column].tolist() for column in TEXTS[words.task]), truncation=True, max_length=512)
    return [
        {**{key: values[row] for key, values in encoded.items()}, "labels": int(label)}
        for row, label in enumerate(frame["label"])
    ]


def load_model(words: argparse.Namespace) -> torch.nn.Module:
    """The encoder with a new head of the seed's."""
    torch.manual_seed(words.seed)
    model: torch.nn.Module = AutoModelForSequenceClassification.from_pretrained(words.encoder, num_labels=2)
    return model


def settings(words: argparse.Namespace, folder: str, rows: int) -> TrainingArguments:
    """The same hyperparameters as glue-bench was given."""
    updates = math.ceil(rows / words.batch_size) * words.epochs
    return TrainingArguments(
        output_dir=folder,
        seed=words.seed,
        num_train_epochs=words.epochs,
        per_device_train_batch_size=words.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=words.learning_rate,
        warmup_steps=math.ceil(updates * words.warmup),
        lr_scheduler_type="linear",
        weight_decay=words.weight_decay,
        adam_beta1=words.betas[0],
        adam_beta2=words.betas[1],
        adam_epsilon=words.epsilon,
        max_grad_norm=words.clip_norm,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


def scores(task: str, labels: np.ndarray[Any, Any], predictions: np.ndarray[Any, Any]) -> dict[str, float]:
    """The task's metrics."""
    if task == "cola":
        return {"matthews_correlation": float(matthews_corrcoef(labels, predictions))}
    found = {"accuracy": float(accuracy_score(labels, predictions))}
    return {**found, "f1": float(f1_score(labels, predictions))} if task == "mrpc" else found


if __name__ == "__main__":
    main()
