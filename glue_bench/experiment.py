"""One run: rows, tokens, model, training, scores, record."""

import dataclasses
import hashlib
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glue_bench.atomic import replace_folder_atomically, write_text_atomically
from glue_bench.checkpoint import SnapshotStore
from glue_bench.data import TaskData, load_task_data, resolve_source
from glue_bench.encoding import Encoded, TextEncoder, cache_folder
from glue_bench.errors import DiskError, DivergedError, GlueBenchError, LostError, UsageError
from glue_bench.identity import RunRequest, check_unchanged
from glue_bench.memory import keep_freed_memory
from glue_bench.model import Classifier, check_max_length, check_tokens, load_classifier, save_classifier
from glue_bench.placement import Placement, choose_placement
from glue_bench.pretrained import Pretrained, encoder_identity, resolve_pretrained
from glue_bench.processes import ALONE, Processes
from glue_bench.provenance import checkout_commit, library_versions
from glue_bench.records import Record, RunStore, write_history, write_predictions
from glue_bench.stopping import SIGNALS
from glue_bench.tasks import TaskAdapter
from glue_bench.trainer import Streams, fit, predict
from glue_bench.updates import StepReport


def run_experiment(
    request: RunRequest,
    store: RunStore,
    *,
    on_phase: Callable[[str], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
    processes: Processes = ALONE,
) -> Record:
    """Train and evaluate one request, from its newest snapshot if it has one, and keep what it leaves behind.

    Whatever ends the run, a record says so: finished, failed, diverged or interrupted. A finished record stays.
    A signal that `glue_bench.stopping.SIGNALS` handles stops it after the update at hand, with a snapshot.
    Of several processes the first writes, and only its record has scores.

    Raises:
        GlueBenchError, Exception: what made it fail, after the record was written.
    """
    folder = store.folder(request.encoder, request.config.task.name, request.run_id)
    facts, history = {**_request_facts(request), "processes": processes.count}, list[StepReport]()
    started = time.perf_counter()

    def note_step(line: StepReport) -> None:
        facts["steps"] = line.step
        on_step(line)

    try:
        finished, earlier = _train_and_score(request, store, facts, history, on_phase, note_step, processes)
        finished["seconds"]["total"] = round(time.perf_counter() - started + earlier, 3)
        record = Record(**{**facts, **finished}, status="finished", ended=_now())
        if not processes.leads:
            return record
        write_history(folder / "history.jsonl", history)
        store.save(record)
    except (DiskError, UsageError):
        raise  # a record could not be written either; or the command is wrong, not the run
    except BaseException as error:
        if not processes.leads:
            raise
        known = store.load(request.encoder, request.config.task.name, request.run_id)
        if known is None or known.status != "finished":  # a result is never replaced by a failure to make it again
            _keep_failure(store, folder, facts, history, error)
        raise
    store.discard_snapshots(record)
    return record


def _keep_failure(
    store: RunStore, folder: Path, facts: dict[str, Any], history: list[StepReport], error: BaseException
) -> None:
    """Write the record of a run that did not finish, and the traceback of an unforeseen error."""
    if history or not (folder / "history.jsonl").exists():  # a run that never went on keeps what it had
        write_history(folder / "history.jsonl", history)
    if isinstance(error, Exception) and not isinstance(error, GlueBenchError):
        write_text_atomically(folder / "error.log", traceback.format_exc())
    record = Record(**facts, status=_status_of(error), error=_describe(error), ended=_now())
    store.save(record)
    if record.status == "diverged":
        store.discard_snapshots(record)


def _train_and_score(
    request: RunRequest,
    store: RunStore,
    facts: dict[str, Any],
    history: list[StepReport],
    on_phase: Callable[[str], None],
    on_step: Callable[[StepReport], None],
    processes: Processes,
) -> tuple[dict[str, Any], float]:
    """What a finished run adds to its record, and the seconds of training that interrupted processes spent."""
    config, task = request.config, TaskAdapter(request.config.task)
    folder = store.folder(request.encoder, config.task.name, request.run_id)
    on_phase("loading")
    placement = choose_placement(
        config.trainer.device,
        config.trainer.precision,
        deterministic=config.trainer.deterministic,
        local_rank=processes.local_rank,
    )
    processes.use_device(placement.device)
    if placement.device.type == "cpu":
        keep_freed_memory()
    pretrained = resolve_pretrained(config.encoder)
    source = resolve_source(config.data, config.task)
    check_unchanged(request, encoder=encoder_identity(config.encoder, pretrained), data=source.identity)
    data = load_task_data(source, config.data, config.task)
    on_phase("tokenising")
    check_max_length(pretrained.folder, config.trainer.max_length)
    texts = TextEncoder(pretrained.folder, max_length=config.trainer.max_length)
    encoded = {name: texts.encode(split, cache=cache_folder()) for name, split in data.splits.items()}
    streams = Streams.from_seed(config.seed)
    model = load_classifier(
        pretrained.folder, outputs=task.outputs, head_seed=streams.head, engine=config.trainer.engine
    )
    for split in encoded.values():
        check_tokens(model, split)
    facts |= _input_facts(task, pretrained, data, encoded, placement)
    facts["engine"] = model.engine
    facts["encoder"]["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    model.cut_vocabulary(np.concatenate([split.tokens for split in encoded.values()]))
    on_phase("training")
    with SIGNALS.at_a_good_moment():
        result = fit(
            model,
            encoded[task.facts.train],
            labels=data.splits[task.facts.train].labels,
            settings=config.trainer,
            streams=streams,
            placement=placement,
            history=history,
            on_step=on_step,
            snapshots=_open_snapshots(request, store, facts, encoded, placement) if processes.leads else None,
            signals=SIGNALS,
            processes=processes,
        )
    on_phase("evaluating")
    scores, evaluated = _evaluate(
        model, task, data, encoded, folder, config.trainer.eval_batch_size, placement, processes
    )
    if config.save_model and processes.leads:
        model.restore_vocabulary(decay=result.untouched_decay)
        with replace_folder_atomically(folder / "model") as target:
            save_classifier(model, target, pretrained=pretrained.folder, labels=config.task.labels)
    finished = {
        "scores": scores,
        "steps": result.steps,
        "epochs": config.trainer.epochs,
        "tokens": result.tokens,
        "resumed_at": result.resumed_at,
        "accumulation": result.accumulation,
        "seconds": {"train": round(result.seconds, 3), "eval": round(evaluated, 3)},
    }
    return finished, result.earlier


def _open_snapshots(
    request: RunRequest, store: RunStore, facts: dict[str, Any], encoded: dict[str, Encoded], placement: Placement
) -> SnapshotStore:
    """The run's snapshots: of use only to a training that would otherwise be the same."""
    tokens = hashlib.sha256()
    for name in sorted(encoded):
        tokens.update(encoded[name].tokens.tobytes())
        tokens.update(encoded[name].offsets.tobytes())
    belongs_to = {
        "run_id": request.run_id,
        "weights": facts["encoder"]["weights_sha256"],
        "tokens": tokens.hexdigest(),
        "engine": facts["engine"],
        "precision": placement.precision,
        "device": placement.device.type,
        "torch": torch.__version__,
    }
    return SnapshotStore(
        store.snapshots(request.encoder, request.config.task.name, request.run_id), belongs_to=belongs_to
    )


def _evaluate(
    model: Classifier,
    task: TaskAdapter,
    data: TaskData,
    encoded: dict[str, Encoded],
    folder: Path,
    batch_size: int,
    placement: Placement,
    processes: Processes,
) -> tuple[dict[str, dict[str, float]], float]:
    """Predict and score every validation split, and keep the predictions; the scores, and the seconds of predicting."""
    # evaluate and scikit-learn take seconds to import: not before the first update.
    from glue_bench.metrics import predict_classes, predict_scores, score_predictions

    scores, written, seconds = {}, [], 0.0
    for name in task.facts.validation:
        split = data.splits[name]
        started = time.perf_counter()
        logits = predict(model, encoded[name], batch_size=batch_size, placement=placement, processes=processes)
        seconds += time.perf_counter() - started
        if not processes.leads:
            continue
        prediction = predict_scores(logits) if task.regression else predict_classes(logits)
        scores[name] = score_predictions(task.facts.metrics, prediction, split.labels)
        written.append((folder / "predictions" / f"{name}.parquet", split, prediction, logits))
    for path, split, prediction, logits in written:  # only once every split has its scores
        write_predictions(path, idx=split.idx, label=split.labels, prediction=prediction, logits=logits)
    return scores, seconds


def _request_facts(request: RunRequest) -> dict[str, Any]:
    """What is known before anything is read."""
    config = request.config
    return {
        "run_id": request.run_id,
        "setting_id": request.setting_id,
        "task": config.task.name,
        "encoder": {
            "name": request.encoder,
            "hub_id": config.encoder.hub_id,
            "revision": config.encoder.revision,
        },
        "data": {
            "source": config.data.source,
            "dataset": config.data.dataset,
            "revision": config.data.revision,
        },
        "comparable": False,
        "not_comparable_because": ["the run did not finish"],
        "seed": config.seed,
        "streams": dataclasses.asdict(Streams.from_seed(config.seed)),
        "recipe": config.recipe,
        "accumulation": config.trainer.accumulation,
        "versions": library_versions(),
        "git": checkout_commit(),
        "config": dataclasses.asdict(config),
    }


def _input_facts(
    task: TaskAdapter,
    pretrained: Pretrained,
    data: TaskData,
    encoded: dict[str, Encoded],
    placement: Placement,
) -> dict[str, Any]:
    """What is known once the inputs are read."""
    reasons = task.not_comparable_because(source=data.source, rows=data.rows)
    device = placement.device
    on_gpu = device.type == "cuda"
    return {
        "encoder": {
            "name": pretrained.name,
            "hub_id": pretrained.hub_id,
            "revision": pretrained.revision,
            "weights_sha256": pretrained.weights_sha256,
        },
        "data": {
            "source": data.source,
            "dataset": data.dataset,
            "revision": data.revision,
            "fingerprint": data.fingerprint,
            "rows": dict(data.rows),
            "truncated": {name: rows.truncated for name, rows in encoded.items()},
        },
        "comparable": not reasons,
        "not_comparable_because": reasons,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"{device}, {torch.get_num_threads()} threads",
        "precision": placement.precision,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _status_of(error: BaseException) -> str:
    if isinstance(error, DivergedError):
        return "diverged"
    return "failed" if isinstance(error, Exception) and not isinstance(error, LostError) else "interrupted"


def _describe(error: BaseException) -> str:
    return str(error) if isinstance(error, GlueBenchError) else f"{type(error).__name__}: {error}"
