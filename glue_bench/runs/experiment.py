"""One run: rows, tokens, model, training, scores, record."""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.data.encoding import Encoded, TextEncoder, cache_folder
from glue_bench.data.rows import TaskData, load_task_data
from glue_bench.data.sources import resolve_source
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
from glue_bench.training.trainer import FitResult, fit, predict
from glue_bench.training.updates import StepReport


class Draft:
    """The record in the making, for a finished run or a failed one: what is known of the run so far."""

    def __init__(self, request: RunRequest, *, processes: Processes) -> None:
        """Begin with what the request says."""
        self.facts = {**request_facts(request), "processes": processes.count}
        self.history = list[StepReport]()

    def finish(
        self, fitted: FitResult, scored: "Scored", *, best: BestEpoch | None, seconds: Mapping[str, float]
    ) -> Record:
        """The record of a run that has its scores."""
        trained = ("steps", "epochs", "tokens", "resumed_at", "accumulation")
        facts = self.facts | {key: getattr(fitted, key) for key in trained}
        facts |= {"scores": scored.scores, "predictions_sha256": scored.predictions_sha256}
        facts["selected"] = dataclasses.asdict(best.selected) if best else {}
        facts["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        return Record(**facts, status="finished", ended=now())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """A run in progress: what was asked for, where it happens, and who follows it."""

    request: RunRequest
    store: RunStore
    processes: Processes
    placement: Placement
    draft: Draft
    on_phase: Callable[[str], None]
    on_step: Callable[[StepReport], None]
    check_owner: Callable[[], None]

    @property
    def task(self) -> TaskAdapter:
        """The run's task."""
        return TaskAdapter.of(self.request.config.task)

    @property
    def folder(self) -> Path:
        """Where the run's files lie."""
        return self.store.folder(*self.request.place)

    def predict(self, model: Classifier, encoded: Encoded, *, phase: str) -> NDArray[np.float32]:
        """(n, outputs) logits."""
        return predict(
            model,
            encoded,
            batch_size=self.request.config.trainer.eval_batch_size,
            placement=self.placement,
            on_batch=lambda: self.on_phase(phase),
            processes=self.processes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The files of a run, read."""

    pretrained: Pretrained
    start: Pretrained  # what the training starts from: the same, or what the parent run made of it
    data: TaskData


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The model, the tokens of every split, the rows to train on, and what chooses among the epochs."""

    model: Classifier
    encoded: Mapping[str, Encoded]
    train: Encoded
    labels: NDArray[Any]
    best: BestEpoch | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a finished run adds to its record: by split, and the seconds of predicting."""

    scores: Mapping[str, Mapping[str, float]]
    predictions_sha256: Mapping[str, str]
    seconds: float


def run_experiment(
    request: RunRequest,
    store: RunStore,
    *,
    on_phase: Callable[[str], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
    check_owner: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
) -> Record:
    """Train and evaluate one request, from its newest snapshot if it has one, and keep what it leaves behind.

    Whatever ends the run, a record says so: finished, failed, diverged or interrupted. A finished record stays, and
    scores are kept even if the weights cannot be written.
    A signal that `glue_bench.training.stopping.SIGNALS` handles stops it after the current update, with a snapshot.
    Of several processes the first writes, and only its record has scores. `check_owner` is called before the run's
    files are written or deleted, and raises if the run is another worker's by now.

    Raises:
        GlueBenchError, Exception: why it failed, after the record was written.
    """
    started, draft = time.perf_counter(), Draft(request, processes=processes)
    try:
        run = RunContext(
            request=request,
            store=store,
            processes=processes,
            placement=_choose_placement(request, processes),
            draft=draft,
            on_phase=on_phase,
            on_step=on_step,
            check_owner=check_owner,
        )
        inputs = _load_inputs(run)
        prepared = _prepare(run, inputs)
        fitted = _fit(run, prepared, start=inputs.start)
        scored = _evaluate(run, prepared, data=inputs.data)
        seconds = {"train": fitted.seconds, "eval": scored.seconds}
        seconds["total"] = time.perf_counter() - started + fitted.earlier
        record = draft.finish(fitted, scored, best=prepared.best, seconds=seconds)
        if not processes.leads:
            return record
        try:
            record = _save_model(run, prepared, record=record, start=inputs.start, decay=fitted.untouched_decay)
        finally:
            check_owner()
            write_history(run.folder / "history.jsonl", draft.history)
            store.save(record)
    except (DiskError, UsageError, LostLeaseError):
        raise  # not recorded: disk full, usage error, or another worker owns the run
    except BaseException as error:
        if processes.leads:
            check_owner()
            store.keep_failure(request, error, facts=draft.facts, history=draft.history)
        raise
    store.discard_snapshots(record)
    (run.folder / "error.log").unlink(missing_ok=True)  # of an attempt before
    return record


def _choose_placement(request: RunRequest, processes: Processes) -> Placement:
    trainer, rank = request.config.trainer, processes.local_rank
    chosen = choose_placement(trainer.device, trainer.precision, deterministic=trainer.deterministic, local_rank=rank)
    processes.use_device(chosen.device)
    if chosen.device.type == "cpu":
        keep_freed_memory()
    return chosen


def _load_inputs(run: RunContext) -> Inputs:
    run.on_phase("loading")
    config = run.request.config
    pretrained = start = resolve_pretrained(config.encoder)
    source = resolve_source(config.data, config.task)
    check_unchanged(run.request, encoder=encoder_identity(config.encoder, pretrained), data=source.identity)
    if parent := run.request.parent:
        folder = run.store.folder(*parent.place) / "model"
        if not (folder / "model.safetensors").is_file():
            raise InputError(f"{folder}: no model of {parent.title} to start from; run it with save_model=true")
        sha256 = file_sha256(folder / "model.safetensors")
        start = dataclasses.replace(pretrained, folder=folder, weights_sha256=sha256)
    return Inputs(pretrained=pretrained, start=start, data=load_task_data(source, config.data, task=config.task))


def _prepare(run: RunContext, inputs: Inputs) -> Prepared:
    run.on_phase("tokenising")
    trainer, folder, data = run.request.config.trainer, inputs.start.folder, inputs.data
    check_max_length(folder, trainer.max_length)
    texts = TextEncoder(folder, max_length=trainer.max_length)
    encoded = {name: texts.encode(split, cache=cache_folder()) for name, split in data.splits.items()}
    head = SeedStreams.from_seed(run.request.config.seed).head
    model = load_classifier(folder, outputs=run.task.outputs, head_seed=head, engine=trainer.engine)
    for split in encoded.values():
        check_tokens(model, split)
    encoder = {key: getattr(inputs.pretrained, key) for key in ("name", "hub_id", "revision", "weights_sha256")}
    if run.request.parent:
        encoder["init_sha256"] = inputs.start.weights_sha256
    source, prints, device = data.source, data.fingerprints, run.placement.device
    init, threads = run.request.init, f"{device}, {torch.get_num_threads()} threads"
    reasons = run.task.not_comparable_because(source=source, rows=data.rows, fingerprints=prints, init=init)
    run.draft.facts |= {
        "encoder": {**encoder, "parameters": sum(parameter.numel() for parameter in model.parameters())},
        "data": {
            **{key: getattr(data, key) for key in ("source", "dataset", "revision", "fingerprint", "fingerprints")},
            "checked": run.task.checked(source=source, fingerprints=prints),
            "rows": dict(data.rows),
            "truncated": {name: rows.truncated for name, rows in encoded.items()},
        },
        "comparable": not reasons,
        "not_comparable_because": reasons,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else threads,
        "precision": run.placement.precision,
        "engine": model.engine,
    }
    model.cut_vocabulary(np.concatenate([split.tokens for split in encoded.values()]))
    return _choose_rows(run, model, encoded=encoded, labels={name: split.labels for name, split in data.splits.items()})


def _choose_rows(
    run: RunContext, model: Classifier, *, encoded: Mapping[str, Encoded], labels: Mapping[str, NDArray[Any]]
) -> Prepared:
    """The rows to train on, and, unless the last epoch is kept, what scores the epochs."""
    task, config = run.task, run.request.config
    train, targets = encoded[task.train], labels[task.train]
    if config.selection == "last":
        return Prepared(model=model, encoded=encoded, train=train, labels=targets, best=None)
    judged, on = [([split], encoded[split], labels[split]) for split in task.validation], "validation"
    if config.selection == "holdout":
        if len(train) < 2:
            raise InputError(f"selection=holdout: {task.train} has {len(train)} row, and one is needed on each side")
        kept, held = draw_holdout(len(train), fraction=config.holdout, seed=holdout_stream(config.seed))
        judged = [(task.validation, take_rows(train, held), targets[held])]  # in the place of every split
        train, targets, on = take_rows(train, kept), targets[kept], "holdout"

    def score() -> float:
        scores = dict[str, dict[str, float]]()
        for names, rows, truth in judged:
            logits = run.predict(model, rows, phase="selecting")
            scores |= dict.fromkeys(names, _score(task, logits, labels=truth)[1])
        run.on_phase("training")
        return headline(task.parts("card"), scores)

    best = BestEpoch(model, score, on=on, rows=sum(len(rows) for _, rows, _ in judged))
    return Prepared(model=model, encoded=encoded, train=train, labels=targets, best=best)


def _fit(run: RunContext, prepared: Prepared, *, start: Pretrained) -> FitResult:
    run.on_phase("training")

    def note_step(line: StepReport) -> None:
        run.draft.facts["steps"] = line.step
        run.on_step(line)

    with SIGNALS.at_a_good_moment():
        return fit(
            prepared.model,
            prepared.train,
            labels=prepared.labels,
            settings=run.request.config.trainer,
            streams=SeedStreams.from_seed(run.request.config.seed),
            placement=run.placement,
            history=run.draft.history,
            on_step=note_step,
            snapshots=_open_snapshots(run, prepared, start=start) if run.processes.leads else None,
            signals=SIGNALS,
            selection=prepared.best,
            processes=run.processes,
        )


def _open_snapshots(run: RunContext, prepared: Prepared, *, start: Pretrained) -> SnapshotStore:
    """The run's snapshots: of use only to a training that would otherwise be the same."""
    tokens = hashlib.sha256()
    for name in sorted(prepared.encoded):
        tokens.update(prepared.encoded[name].tokens.tobytes())
        tokens.update(prepared.encoded[name].offsets.tobytes())
    belongs_to = {
        "run_id": run.request.run_id,
        "weights": start.weights_sha256,
        "tokens": tokens.hexdigest(),
        "engine": prepared.model.engine,
        "precision": run.placement.precision,
        "device": run.placement.device.type,
        "torch": torch.__version__,
    }
    folder = run.store.snapshots(*run.request.place)
    return SnapshotStore(folder, belongs_to=belongs_to, check_owner=run.check_owner)


def _evaluate(run: RunContext, prepared: Prepared, *, data: TaskData) -> Scored:
    """Predict and score every validation split, and keep the predictions once all have their scores."""
    scores, hashes, predicted, seconds = dict[str, dict[str, float]](), dict[str, str](), {}, 0.0
    for name in run.task.validation:
        started = time.perf_counter()
        logits = run.predict(prepared.model, prepared.encoded[name], phase="evaluating")
        seconds += time.perf_counter() - started
        if run.processes.leads:
            prediction, scores[name] = _score(run.task, logits, labels=data.splits[name].labels)
            predicted[name] = prediction, logits
    run.on_phase("writing")
    run.check_owner()
    for name, (prediction, logits) in predicted.items():
        split, path = data.splits[name], predictions_path(run.folder, name)
        hashes[name] = write_predictions(path, idx=split.idx, label=split.labels, prediction=prediction, logits=logits)
    return Scored(scores=scores, predictions_sha256=hashes, seconds=seconds)


def _score(
    task: TaskAdapter, logits: NDArray[np.float32], *, labels: NDArray[Any]
) -> tuple[NDArray[Any], dict[str, float]]:
    """(n, outputs) logits and (n,) labels to (n,) predictions and their scores."""
    # evaluate and scikit-learn take seconds to import: not before the first update.
    from glue_bench.tasks.metrics import predict_classes, predict_scores, score_predictions

    prediction = predict_scores(logits) if task.regression else predict_classes(logits)
    return prediction, score_predictions(task.metrics, prediction, labels=labels)


def _save_model(run: RunContext, prepared: Prepared, *, record: Record, start: Pretrained, decay: float) -> Record:
    """Keep the weights, if that was asked for; the record with their hash.

    Raises:
        DiskError: they cannot be written.
    """
    if not run.request.config.save_model:
        return record
    prepared.model.restore_vocabulary(decay=decay)
    with replace_folder_atomically(run.folder / "model") as target:
        save_classifier(prepared.model, target, pretrained=start.folder, labels=run.task.labels)
        sha256 = file_sha256(target / "model.safetensors")
    return dataclasses.replace(record, model_sha256=sha256)
