"""One run: rows, tokens, model, training, scores, record."""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.data import TaskData, load_task_data, resolve_source
from glue_bench.data.encoding import Encoded, TextEncoder, cache_folder
from glue_bench.errors import DiskError, InputError, UsageError
from glue_bench.files import file_sha256, replace_folder_atomically
from glue_bench.models.classifier import Classifier, check_max_length, check_tokens, load_classifier, save_classifier
from glue_bench.models.placement import Placement, choose_placement, keep_freed_memory
from glue_bench.models.pretrained import Pretrained, encoder_identity, resolve_pretrained
from glue_bench.runs.identity import RunRequest, check_unchanged
from glue_bench.runs.lease import LostLeaseError
from glue_bench.runs.record import Record, now, request_facts
from glue_bench.runs.store import RunStore, predictions_path, write_history, write_predictions
from glue_bench.tasks.adapter import TaskAdapter, headline
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.seeds import SeedStreams, holdout_stream
from glue_bench.training.selection import BestEpoch, draw_holdout, take_rows
from glue_bench.training.stopping import SIGNALS
from glue_bench.training.trainer import fit, predict
from glue_bench.training.updates import StepReport


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
    A signal that `glue_bench.training.stopping.SIGNALS` handles stops it after the update at hand, with a snapshot.
    Of several processes the first writes, and only its record has scores.

    Raises:
        GlueBenchError, Exception: what made it fail, after the record was written.
    """
    folder = store.folder(*request.place)
    facts, history = {**request_facts(request), "processes": processes.count}, list[StepReport]()
    started = time.perf_counter()

    def note_step(line: StepReport) -> None:
        facts["steps"] = line.step
        on_step(line)

    try:
        finished, earlier = _train_and_score(request, store, facts, history, on_phase, note_step, processes)
        finished["seconds"]["total"] = round(time.perf_counter() - started + earlier, 3)
        record = Record(**{**facts, **finished}, status="finished", ended=now())
        if not processes.leads:
            return record
        write_history(folder / "history.jsonl", history)
        store.save(record)
    except (DiskError, UsageError, LostLeaseError):
        raise  # no record could be written either; or the command is wrong, not the run; or the run is another's
    except BaseException as error:
        if processes.leads:
            store.keep_failure(request, error, facts=facts, history=history)
        raise
    store.discard_snapshots(record)
    (folder / "error.log").unlink(missing_ok=True)  # of an attempt before
    return record


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
    config, task = request.config, TaskAdapter.of(request.config.task)
    folder = store.folder(*request.place)
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
    if request.parent:
        pretrained = _fine_tuned(request.parent, store, pretrained)
    data = load_task_data(source, config.data, config.task)
    on_phase("tokenising")
    check_max_length(pretrained.folder, config.trainer.max_length)
    texts = TextEncoder(pretrained.folder, max_length=config.trainer.max_length)
    encoded = {name: texts.encode(split, cache=cache_folder()) for name, split in data.splits.items()}
    streams = SeedStreams.from_seed(config.seed)
    model = load_classifier(
        pretrained.folder, outputs=task.outputs, head_seed=streams.head, engine=config.trainer.engine
    )
    for split in encoded.values():
        check_tokens(model, split)
    facts |= _input_facts(task, pretrained, data, encoded, placement, init=request.init)
    facts["engine"] = model.engine
    facts["encoder"]["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    model.cut_vocabulary(np.concatenate([split.tokens for split in encoded.values()]))
    train, labels, best = _prepare_selection(
        request, model, task, data, encoded, placement, processes, on_phase=on_phase
    )
    on_phase("training")
    with SIGNALS.at_a_good_moment():
        result = fit(
            model,
            train,
            labels=labels,
            settings=config.trainer,
            streams=streams,
            placement=placement,
            history=history,
            on_step=on_step,
            snapshots=_open_snapshots(request, store, facts, encoded, placement) if processes.leads else None,
            signals=SIGNALS,
            selection=best,
            processes=processes,
        )
    scores, hashes, evaluated = _evaluate(
        model, task, data, encoded, folder, config.trainer.eval_batch_size, placement, processes, on_phase=on_phase
    )
    kept = None
    if config.save_model and processes.leads:
        model.restore_vocabulary(decay=result.untouched_decay)
        with replace_folder_atomically(folder / "model") as target:
            save_classifier(model, target, pretrained=pretrained.folder, labels=config.task.labels)
            kept = file_sha256(target / "model.safetensors")
    finished = {
        "model_sha256": kept,
        "scores": scores,
        "predictions_sha256": hashes,
        "steps": result.steps,
        "epochs": result.epochs,
        "selected": dataclasses.asdict(best.selected) if best else {},
        "tokens": result.tokens,
        "resumed_at": result.resumed_at,
        "accumulation": result.accumulation,
        "seconds": {"train": round(result.seconds, 3), "eval": round(evaluated, 3)},
    }
    return finished, result.earlier


def _prepare_selection(
    request: RunRequest,
    model: Classifier,
    task: TaskAdapter,
    data: TaskData,
    encoded: dict[str, Encoded],
    placement: Placement,
    processes: Processes,
    *,
    on_phase: Callable[[str], None],
) -> tuple[Encoded, NDArray[Any], BestEpoch | None]:
    """The rows to train on, their labels, and what chooses among the epochs."""
    name, config = task.train, request.config
    train, labels = encoded[name], data.splits[name].labels
    judged, on = [([split], encoded[split], data.splits[split].labels) for split in task.validation], "validation"
    if config.selection == "last":
        return train, labels, None
    if config.selection == "holdout":
        if len(train) < 2:
            raise InputError(f"selection=holdout: {name} has {len(train)} row, and one is needed on each side")
        stream = holdout_stream(config.seed)
        kept, held = draw_holdout(len(train), fraction=config.holdout, seed=stream)
        judged = [(task.validation, take_rows(train, held), labels[held])]  # in the place of every split
        train, labels, on = take_rows(train, kept), labels[kept], "holdout"

    def score() -> float:
        scores = dict[str, dict[str, float]]()
        for splits, rows, truth in judged:
            logits = predict(
                model,
                rows,
                batch_size=config.trainer.eval_batch_size,
                placement=placement,
                on_batch=lambda: on_phase("selecting"),
                processes=processes,
            )
            scores |= dict.fromkeys(splits, _score(task, logits, truth)[1])
        on_phase("training")
        return headline(task.parts("card"), scores)

    return train, labels, BestEpoch(model, score, on=on, rows=sum(len(rows) for _, rows, _ in judged))


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
    return SnapshotStore(store.snapshots(*request.place), belongs_to=belongs_to)


def _fine_tuned(parent: RunRequest, store: RunStore, pretrained: Pretrained) -> Pretrained:
    """The encoder that the parent run left behind.

    Raises:
        InputError: it left none.
    """
    folder = store.folder(*parent.place) / "model"
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{folder}: no model of {parent.title} to start from; run it with save_model=true")
    return dataclasses.replace(pretrained, folder=folder, weights_sha256=file_sha256(folder / "model.safetensors"))


def _evaluate(
    model: Classifier,
    task: TaskAdapter,
    data: TaskData,
    encoded: dict[str, Encoded],
    folder: Path,
    batch_size: int,
    placement: Placement,
    processes: Processes,
    *,
    on_phase: Callable[[str], None],
) -> tuple[dict[str, dict[str, float]], dict[str, str], float]:
    """Predict and score every validation split, and keep the predictions.

    Returns:
        The scores, the predictions' SHA-256, both by split, and the seconds of predicting.
    """
    scores, hashes, written, seconds = {}, {}, [], 0.0
    for name in task.validation:
        split = data.splits[name]
        started = time.perf_counter()
        logits = predict(
            model,
            encoded[name],
            batch_size=batch_size,
            placement=placement,
            on_batch=lambda: on_phase("evaluating"),
            processes=processes,
        )
        seconds += time.perf_counter() - started
        if not processes.leads:
            continue
        prediction, scores[name] = _score(task, logits, split.labels)
        written.append((name, split, prediction, logits))
    on_phase("writing")
    for name, split, prediction, logits in written:  # only once every split has its scores
        path = predictions_path(folder, name)
        hashes[name] = write_predictions(path, idx=split.idx, label=split.labels, prediction=prediction, logits=logits)
    return scores, hashes, seconds


def _score(
    task: TaskAdapter, logits: NDArray[np.float32], labels: NDArray[Any]
) -> tuple[NDArray[Any], dict[str, float]]:
    """(n, outputs) logits and (n,) labels to (n,) predictions and their scores."""
    # evaluate and scikit-learn take seconds to import: not before the first update.
    from glue_bench.tasks.metrics import predict_classes, predict_scores, score_predictions

    prediction = predict_scores(logits) if task.regression else predict_classes(logits)
    return prediction, score_predictions(task.metrics, prediction, labels)


def _input_facts(
    task: TaskAdapter,
    pretrained: Pretrained,
    data: TaskData,
    encoded: dict[str, Encoded],
    placement: Placement,
    *,
    init: str,
) -> dict[str, Any]:
    """What is known once the inputs are read."""
    reasons = task.not_comparable_because(source=data.source, rows=data.rows, init=init)
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
