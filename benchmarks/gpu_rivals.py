"""The part `rivals` of gpu.py: other programs on the same rows, in the same process, beside ours.

run_glue            transformers' example as it ships: float32, every row padded to 128, evaluation in batches of 8
run_glue bf16       the same with bf16=True
trainer grouped     transformers.Trainer in bf16, padded to the longest row of a batch, rows of like length grouped
plain loop          a minimal loop in PyTorch in bf16 autocast with fused AdamW, padded to the longest row of a batch
glue-bench          ours, as configured by default

All have the recipe's batch size. The four save no checkpoints, though run_glue by itself saves one every 500 updates,
and tokenising and starting are not in their times.
"""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu import Job
from gpu_machine import synchronise
from gpu_material import TASKS
from gpu_updates import Case, Window
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from glue_bench.config.compose import compose_run
from glue_bench.models.placement import choose_placement
from glue_bench.training.trainer import predict

TIMED = ("mnli", "qqp", "qnli", "sst2", "cola")
LIKE = {"stsb": "qqp", "mrpc": "qnli", "rte": "qnli"}  # whose time an update of a task that is not timed is given
OURS, RUN_GLUE, GROUPED, PLAIN = "glue-bench", "run_glue", "trainer grouped", "plain loop"
WAYS = (OURS, RUN_GLUE, f"{RUN_GLUE} bf16", GROUPED, PLAIN)
EVALUATED = 2048  # rows


class Clock(TrainerCallback):
    """Times the updates after the first ones."""

    def __init__(self, warm: int, device: str) -> None:
        """Start after `warm` updates."""
        self.warm, self.device, self.done, self.began, self.ended = warm, device, 0, 0.0, 0.0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Look at the time; the device must be done only in the beginning and in the end."""
        self.done += 1
        if self.done == self.warm:
            synchronise(self.device)
            self.began = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """End with the device."""
        synchronise(self.device)
        self.ended = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        """Of an update."""
        return 1000 * (self.ended - self.began) / (self.done - self.warm)


def rivals(job: Job) -> None:
    """Time a hundred updates and some evaluation of each way on each task; then a whole seed, extrapolated."""
    folder, found = job.material(), dict[str, Any]()
    warm, timed = (20, 100) if not job.toy else (2, 3)
    for task in TIMED if not job.toy else TIMED[-1:]:
        case = Case.of(task, folder=folder, words=job.words, updates=8 + warm + timed)
        found[task] = {}
        for way in WAYS:
            milliseconds, rate = measure(way, case, warm=warm, timed=timed, job=job)
            found[task][way] = {"ms an update": round(milliseconds, 3), "evaluated rows a second": round(rate)}
            job.keep(found)
    if set(TIMED) <= found.keys():
        job.keep({**found, "a whole seed, EXTRAPOLATED from these, in minutes": extrapolate(found)})


def measure(way: str, case: Case, *, warm: int, timed: int, job: Job) -> tuple[float, float]:
    """Return milliseconds of an update, and rows evaluated a second."""
    if way == OURS:
        return ours(case, timed=timed, job=job)
    pad = 128 if way.startswith(RUN_GLUE) else None
    rows = dicts(case, pad=pad, count=(warm + timed) * case.settings.batch_size)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(case.folder / "encoder", num_labels=2)
    collate = (
        default_data_collator
        if pad
        else DataCollatorWithPadding(AutoTokenizer.from_pretrained(case.folder / "encoder"))
    )
    common: dict[str, Any] = {"batch": case.settings.batch_size, "warm": warm, "job": job}
    if way == PLAIN:
        return plain_loop(model, rows, collate, **common)
    return with_trainer(model, rows, collate, way=way, **common)


def dicts(case: Case, *, pad: int | None, count: int) -> list[dict[str, Any]]:
    """Return rows as a collator wants them."""
    made, offsets = [], case.encoded.offsets
    for place in range(count):
        row = place % len(case.encoded)
        ids = case.encoded.tokens[offsets[row] : offsets[row + 1]].tolist()[:pad]
        filler = [1] * ((pad or len(ids)) - len(ids))
        mask = [1] * len(ids) + [0] * len(filler)
        made.append({"input_ids": ids + filler, "attention_mask": mask, "labels": row % 2})
    return made


def ours(case: Case, *, timed: int, job: Job) -> tuple[float, float]:
    """Fit, then predict, as a run does."""
    window = Window(40, timed) if not job.toy else Window(10, 10)
    case.fit(window)
    placement, model = choose_placement(job.device, case.settings.precision), case.model()
    offsets = case.encoded.offsets[: EVALUATED + 1]
    whole, count = case.encoded, offsets[-1]
    few = dataclasses.replace(whole, tokens=whole.tokens[:count], types=whole.types[:count], offsets=offsets)
    predict_few = lambda: predict(model, few, batch_size=case.settings.eval_batch_size, placement=placement)  # noqa: E731
    return window.milliseconds, rate_of(predict_few, len(few), job.device)


def with_trainer(
    model: Any, rows: list[Any], collate: Any, *, way: str, batch: int, warm: int, job: Job
) -> tuple[float, float]:
    """transformers.Trainer: its own optimiser, loop and evaluation."""
    known, clock = {item.name for item in dataclasses.fields(TrainingArguments)}, Clock(warm, job.device)
    grouped: dict[str, Any] = {}
    if way == GROUPED:
        new = "train_sampling_strategy" in known
        grouped = {"train_sampling_strategy": "group_by_length"} if new else {"group_by_length": True}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=batch,
                per_device_eval_batch_size=64 if way == GROUPED else 8,
                learning_rate=2e-5,
                bf16=way != RUN_GLUE,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=job.device == "cpu",
                **grouped,
            ),
            train_dataset=rows,
            data_collator=collate,
            callbacks=[clock],
        )
        trainer.train()
        few = rows[:EVALUATED]
        return clock.milliseconds, rate_of(lambda: trainer.predict(few), len(few), job.device)  # type: ignore[arg-type]


def plain_loop(model: Any, rows: list[Any], collate: Any, *, batch: int, warm: int, job: Job) -> tuple[float, float]:
    """What one writes in twenty lines."""
    model.to(job.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    clock = Clock(warm, job.device)

    def logits_of(begin: int, size: int) -> Any:
        inputs = {
            name: value.to(job.device, non_blocking=True) for name, value in collate(rows[begin : begin + size]).items()
        }
        with torch.autocast(job.device, dtype=torch.bfloat16):
            return model(**inputs)

    for begin in range(0, len(rows), batch):
        logits_of(begin, batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.on_step_end()
    clock.on_train_end()
    model.eval()
    few = min(EVALUATED, len(rows))

    @torch.inference_mode()
    def predict_few() -> None:
        for begin in range(0, few, 64):
            logits_of(begin, min(64, few - begin)).logits.float().cpu()

    return clock.milliseconds, rate_of(predict_few, few, job.device)


def rate_of(call: Callable[[], object], rows: int, device: str) -> float:
    """Return rows a second of the second of two calls."""
    seconds = 0.0
    for _ in range(2):
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        seconds = time.perf_counter() - started
    return rows / seconds


def extrapolate(found: dict[str, Any]) -> dict[str, float]:
    """Multiply by the updates and the validation rows of the eight tasks."""
    minutes = dict.fromkeys(WAYS, 0.0)
    for task in TASKS:
        config = compose_run([f"task={task}"])
        updates = math.ceil(config.task.rows[config.task.train] / config.trainer.batch_size) * config.trainer.epochs
        rows = sum(config.task.rows[split] for split in config.task.validation)
        for way, facts in found[LIKE.get(task, task)].items():
            minutes[way] += updates * facts["ms an update"] / 60_000 + rows / facts["evaluated rows a second"] / 60
    return {way: round(value, 2) for way, value in minutes.items()}
