"""One run: rows, tokens, model, training, scores, record."""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.config.task import TaskConfig, headline
from glue_bench.data.encoding import Encoded
from glue_bench.data.rows import TaskData, load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.errors import DiskError, InputError, UsageError
from glue_bench.files import cache_folder, file_sha256, replace_folder_atomically
from glue_bench.models.classifier import Classifier, check_tokens, load_texts, load_trainable, save_classifier
from glue_bench.models.placement import Placement, choose_placement, keep_freed_memory
from glue_bench.models.pretrained import TOKENIZER_FILES, Pretrained, encoder_identity, resolve_pretrained
from glue_bench.models.trainable import ADAPTER_FILES, trained
from glue_bench.runs.division import Division, Judged, divide_rows
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import LostLeaseError
from glue_bench.runs.record import Record, now, request_facts
from glue_bench.runs.store import RunStore, choose_start, predictions_path, write_history, write_predictions
from glue_bench.text import plural
from glue_bench.training.checkpoint import SnapshotStore, products_of_newest
from glue_bench.training.course import SeedStreams, StepReport
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.selection import BestEpoch
from glue_bench.training.stopping import SIGNALS
from glue_bench.training.trainer import FitResult, fit, predict

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A run in progress: what was requested, who is notified, and everything that training and evaluation need."""

    request: RunRequest
    store: RunStore
    processes: Processes
    on_phase: Callable[[str], None]
    on_step: Callable[[StepReport], None]
    check_owner: Callable[[], None]
    facts: dict[str, Any]  # fields of the record so far, for a finished or a failed run
    task: TaskConfig
    folder: Path  # where the run's files are
    history: list[StepReport] = field(default_factory=list)
    placement: Placement = field(init=False)
    start: Pretrained = field(init=False)  # what the training starts from
    model: Classifier = field(init=False)
    encoded: Mapping[str, Encoded] = field(init=False)  # every split
    rows: Division = field(init=False)

    def predict(self, encoded: Encoded, *, phase: str) -> NDArray[np.float32]:
        """Return (n, outputs) logits."""
        return predict(
            self.model,
            encoded,
            batch_size=self.request.config.trainer.eval_batch_size,
            placement=self.placement,
            on_batch=lambda: self.on_phase(phase),
            processes=self.processes,
        )

    def score_on(self, every: Sequence[Judged]) -> float:
        """Return the task's score with the current weights."""
        scores = dict[str, dict[str, float]]()
        for names, rows, truth in every:
            scores |= dict.fromkeys(names, _score(self.task, self.predict(rows, phase="selecting"), labels=truth)[1])
        self.on_phase("training")
        return headline(self.task.parts("card"), scores)


def run_experiment(
    request: RunRequest,
    store: RunStore,
    *,
    on_phase: Callable[[str], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
    check_owner: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
) -> Record:
    """Train and evaluate one request, from its newest snapshot if it has one, and keep the results.

    Whatever ends the run, a record says so: finished, failed, diverged or interrupted; then what ended it is raised. A
    finished record stays, and scores are kept even if the weights cannot be written.
    A signal that `glue_bench.training.stopping.SIGNALS` handles stops it after the current update, with a snapshot.
    Of several processes the first writes, and only its record has scores. `check_owner` is called before the run's
    files are written or deleted, and raises if another worker has taken the run.
    """
    request, started = choose_start(request, store), time.perf_counter()
    run = _Run(
        request=request,
        store=store,
        processes=processes,
        on_phase=on_phase,
        on_step=on_step,
        check_owner=check_owner,
        facts={**request_facts(request), "processes": processes.count},
        task=request.config.task,
        folder=store.folder(*request.place),
    )
    try:
        best = _prepare(run)
        fitted = _fit(run, best)
        record = _evaluate(run, fitted, best=best, started=started)
        if not processes.leads:
            return record
        try:
            if request.config.save_model:
                record = _save_model(run, record, decay=fitted.untouched_decay)
        finally:
            check_owner()
            write_history(run.folder / "history.jsonl", run.history)
            store.save(record)
    except (DiskError, UsageError, LostLeaseError):
        raise  # not recorded: disk full, usage error, or another worker owns the run
    except BaseException as error:
        if processes.leads:
            check_owner()
            store.keep_failure(request, error, facts=run.facts, history=run.history)
        raise
    store.discard_snapshots(record)
    with contextlib.suppress(OSError):  # the result is kept, whatever is there
        (run.folder / "error.log").unlink()  # of an earlier attempt
    return record


def _load_inputs(run: _Run) -> tuple[Pretrained, TaskData]:
    """Find the pretrained weights and what the training starts from, and read the rows."""
    run.on_phase("loading")
    config = run.request.config
    pretrained = run.start = resolve_pretrained(config.encoder)
    source = resolve_source(config.data, config.task)
    for part, found in (("encoder", encoder_identity(config.encoder, pretrained)), ("data", dict(source.identity))):
        if found != run.request.inputs[part]:
            title = run.request.title
            raise InputError(f"{title}: the files of its {part} changed since the run was planned; run again")
    if parent := run.request.parent:
        record, folder = run.store.load(*parent.place), run.store.folder(*parent.place)
        if record is None or not record.finished:
            raise InputError(f"{folder}: no model of {parent.title} to start from; run it with save_model=true")
        folder = check_weights(FinishedRun(record=record, folder=folder))
        run.start = dataclasses.replace(pretrained, folder=folder, weights_sha256=str(record.model_sha256))
    return pretrained, load_task_data(source, config.data, task=config.task, seed=config.seed)


def _prepare(run: _Run) -> BestEpoch | None:
    """Read everything; return what chooses among the epochs, None to keep the last.

    The run itself must not hold that, which holds the run: the model would stay in memory after its end.
    """
    config, trainer = run.request.config, run.request.config.trainer
    exact, at, by = trainer.deterministic, run.processes.local_rank, trainer.products
    way = {"multiply": by, "before": products_of_newest(run.store.snapshots(*run.request.place))}
    run.placement = choose_placement(trainer.device, trainer.precision, deterministic=exact, local_rank=at, **way)
    if run.placement.device.type == "cpu":
        keep_freed_memory()
    pretrained, data = _load_inputs(run)
    run.on_phase("tokenising")
    start, folder = run.start, run.start.folder
    texts = load_texts(folder, config)
    encoded = {name: texts.encode(split, cache=cache_folder("encoded")) for name, split in data.splits.items()}
    head = SeedStreams.from_seed(config.seed).head
    run.model = model = load_trainable(folder, config, outputs=run.task.outputs, head_seed=head)
    for split in encoded.values():
        check_tokens(model, split)
    encoder = {key: getattr(pretrained, key) for key in ("name", "hub_id", "revision", "weights_sha256")}
    encoder |= {"init_sha256": start.weights_sha256} if run.request.parent else {}
    source, prints, device = data.source, data.fingerprints, run.placement.device
    init, threads = run.request.init, f"{device}, {plural(torch.get_num_threads(), 'thread')}"
    reasons = run.task.not_comparable_because(
        source=source, rows=data.rows, fingerprints=prints, init=init, selection=config.selection
    )
    run.encoded, run.rows = encoded, divide_rows(run.task, config, encoded=encoded, data=data)
    run.facts.update(
        encoder={
            **encoder,
            "parameters": sum(each.numel() for each in model.parameters()),
            "trained": sum(each.numel() for each in trained(model).values()),
        },
        data={
            **{key: getattr(data, key) for key in ("source", "dataset", "revision", "fingerprint", "fingerprints")},
            "checked": run.task.checked(source=source, fingerprints=prints),
            **run.rows.counts(data),
            "overlap": data.overlap(run.task.train),
            "truncated": {name: rows.truncated for name, rows in encoded.items()},
        },
        comparable=not reasons,
        not_comparable_because=reasons,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else threads,
        precision=run.placement.precision,
        engine=model.engine,
        execution=model.execution(run.placement),
    )
    if model.why_padded and trainer.engine == "auto":
        logger.warning("%s runs padded, which is slower: %s", pretrained.name, model.why_padded)
    model.cut_vocabulary(np.concatenate([split.tokens for split in encoded.values()]))
    if not (chosen_on := sum(len(judged.rows) for judged in run.rows.choosing)):
        return None
    score = functools.partial(run.score_on, run.rows.choosing)
    return BestEpoch(model, score, on=run.rows.on, rows=chosen_on, patience=trainer.patience)


def _fit(run: _Run, best: BestEpoch | None) -> FitResult:
    run.on_phase("training")

    def note_step(line: StepReport) -> None:
        run.facts["steps"] = line.step
        run.on_step(line)

    tokens = hashlib.sha256()
    for name in sorted(run.encoded):
        tokens.update(run.encoded[name].tokens.tobytes())
        tokens.update(run.encoded[name].offsets.tobytes())
    # A snapshot is usable only if all of these are the same.
    belongs_to = {
        "run_id": run.request.run_id,
        "weights": run.start.weights_sha256,
        "tokens": tokens.hexdigest(),
        "engine": run.model.engine,
        "precision": run.placement.precision,
        "device": run.placement.device.type,
        "torch": torch.__version__,
        "products": run.facts["execution"].get("products", "torch"),
    }
    folder = run.store.snapshots(*run.request.place)
    snapshots = SnapshotStore(folder, belongs_to=belongs_to, check_owner=run.check_owner)
    with SIGNALS.at_a_good_moment():
        return fit(
            run.model,
            run.rows.train,
            labels=run.rows.labels,
            settings=run.request.config.trainer,
            streams=SeedStreams.from_seed(run.request.config.seed),
            placement=run.placement,
            history=run.history,
            on_step=note_step,
            snapshots=snapshots if run.processes.leads else None,
            signals=SIGNALS,
            selection=best,
            score_dev=functools.partial(run.score_on, run.rows.judged),
            processes=run.processes,
        )


def _evaluate(run: _Run, fitted: FitResult, *, best: BestEpoch | None, started: float) -> Record:
    """Predict and score every validation split, keep the predictions once all are scored, and make the record."""
    from glue_bench.tasks.metrics import why_undefined

    scores, undefined, hashes = dict[str, dict[str, float]](), dict[str, str](), dict[str, str]()
    predicted, seconds = dict[str, dict[str, Any]](), 0.0
    for name, (split, rows) in run.rows.scored.items():
        began = time.perf_counter()
        logits = run.predict(rows, phase="evaluating")
        seconds += time.perf_counter() - began
        if run.processes.leads:
            prediction, scores[name] = _score(run.task, logits, labels=split.labels)
            reasons = why_undefined(run.task.metrics, prediction, labels=split.labels)
            undefined |= {f"{name}.{metric}": reason for metric, reason in reasons.items()}
            predicted[name] = {"idx": split.idx, "label": split.labels, "prediction": prediction, "logits": logits}
    run.on_phase("writing")
    run.check_owner()
    for name, columns in predicted.items():
        hashes[name] = write_predictions(predictions_path(run.folder, name), **columns)
    trained = {key: getattr(fitted, key) for key in ("steps", "epochs", "tokens", "resumed_at", "accumulation")}
    trained["execution"] = {**run.facts["execution"], "kernels": fitted.kernels, "graph": fitted.graph}
    stopped = {"stopped": fitted.epochs} if fitted.stopped else {}
    times = {"train": fitted.seconds, "eval": seconds, "total": time.perf_counter() - started + fitted.earlier}
    return Record(
        **run.facts | trained,
        scores=scores,
        undefined=undefined,
        predictions_sha256=hashes,
        selected=best.selected | stopped if best else {},
        seconds={name: round(value, 3) for name, value in times.items()},
        status="finished",
        ended=now(),
    )


def _score(
    task: TaskConfig, logits: NDArray[np.float32], *, labels: NDArray[Any]
) -> tuple[NDArray[Any], dict[str, float]]:
    """Return (n,) predictions and their scores, from (n, outputs) logits and (n,) labels."""
    # evaluate and scikit-learn take seconds to import: not before the first update.
    from glue_bench.tasks.metrics import decide, score_predictions

    prediction = decide(logits, regression=task.regression)
    return prediction, score_predictions(task.metrics, prediction, labels=labels)


def _save_model(run: _Run, record: Record, *, decay: float) -> Record:
    run.model.restore_vocabulary(decay=decay)
    if adapters := run.model.adapters:  # before they are merged
        encoder, folder = run.request.config.encoder, run.start.folder
        hub_id = None if run.request.parent else encoder.hub_id
        with replace_folder_atomically(run.folder / "adapter", ours=ADAPTER_FILES) as target:
            adapters.save(target, base=hub_id or str(folder), revision=encoder.revision if hub_id else None)
    if record.keeps_adapter:
        return record
    ours = ("config.json", "model.safetensors", "README.md", *TOKENIZER_FILES)
    with replace_folder_atomically(run.folder / "model", ours=ours) as target:
        save_classifier(run.model, target, pretrained=run.start.folder, labels=run.task.labels)
        sha256 = file_sha256(target / "model.safetensors")
    return dataclasses.replace(record, model_sha256=sha256)
