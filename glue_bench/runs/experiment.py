"""One run: rows, tokens, model, training, scores, record."""

import contextlib
import dataclasses
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.config.schema import RunConfig
from glue_bench.config.task import ScorePart, headline
from glue_bench.data.encoding import Encoded
from glue_bench.data.rows import TaskData, draw_halves, draw_holdout, load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.errors import DiskError, InputError, UsageError
from glue_bench.files import cache_folder, file_sha256, replace_folder_atomically
from glue_bench.models.classifier import Classifier, check_tokens, load_texts, load_trainable, save_classifier
from glue_bench.models.placement import Placement, choose_placement, keep_freed_memory
from glue_bench.models.pretrained import TOKENIZER_FILES, Pretrained, encoder_identity, resolve_pretrained
from glue_bench.models.trainable import ADAPTER_FILES, trained
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import LostLeaseError
from glue_bench.runs.record import Record, now, request_facts
from glue_bench.runs.store import Predictions, RunStore, choose_start, predictions_path, write_history
from glue_bench.text import plural
from glue_bench.training.checkpoint import BestEpoch, SnapshotStore, products_of_newest
from glue_bench.training.course import SeedStreams, StepReport, holdout_stream
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import SIGNALS
from glue_bench.training.trainer import FitResult, fit, predict

logger = logging.getLogger(__name__)


class Rows(NamedTuple):
    """Rows without their texts."""

    encoded: Encoded
    labels: NDArray[Any]
    idx: NDArray[np.int64]

    def take(self, places: NDArray[np.int64]) -> "Rows":
        """Return some rows, in this order."""
        return Rows(self.encoded.take(places), self.labels[places], self.idx[places])


def divide_rows(config: RunConfig, every: Mapping[str, Rows]) -> tuple[Rows, Mapping[str, Rows], Mapping[str, Rows]]:
    """Return the rows that train, choose the epoch and are scored, as in `Experiment`; an InputError for too few."""
    task, selection, seed = config.task, config.selection, config.seed
    train, scored = every[task.train], {name: every[name] for name in task.validation}
    for name in {"holdout": [task.train], "halves": task.validation}.get(selection, ()):
        if (rows := len(every[name].idx)) < 2:
            raise InputError(f"selection={selection}: {name} has {rows} row, and one is needed on each side")
    if selection == "holdout":
        kept, held = draw_holdout(len(train.idx), fraction=config.holdout, seed=holdout_stream(seed))
        return train.take(kept), {"holdout": train.take(held)}, scored
    if selection == "halves":
        halves = {name: draw_halves(len(rows.idx), seed=seed) for name, rows in scored.items()}
        choosing, scored = ({name: scored[name].take(half[side]) for name, half in halves.items()} for side in (0, 1))
        return train, choosing, scored
    return train, scored if selection == "best" else {}, scored


@dataclass(slots=True)
class Experiment:
    """One request in training and evaluation, who is notified, and everything that this needs.

    Of several processes the first writes, and only its record has scores. `check_owner` is called before the run's
    files are written or deleted, and raises if another worker has taken the run.
    """

    request: RunRequest
    store: RunStore
    _: KW_ONLY
    on_phase: Callable[[str], None] = lambda _: None
    on_step: Callable[[StepReport], None] = lambda _: None
    check_owner: Callable[[], None] = lambda: None
    processes: Processes = ALONE
    history: list[StepReport] = field(init=False, default_factory=list)
    config: RunConfig = field(init=False)
    folder: Path = field(init=False)  # where the run's files are
    facts: dict[str, Any] = field(init=False)  # fields of the record so far, for a finished or a failed run
    placement: Placement = field(init=False)
    start: Pretrained = field(init=False)  # what the training starts from
    model: Classifier = field(init=False)
    encoded: Mapping[str, Encoded] = field(init=False)  # every split
    train_rows: Rows = field(init=False)
    choosing_rows: Mapping[str, Rows] = field(init=False)  # by split, or one for all; empty: the last epoch is kept
    scored_rows: Mapping[str, Rows] = field(init=False)  # of each validation split

    def __post_init__(self) -> None:
        """Choose the run that it starts from."""
        self.request = choose_start(self.request, self.store)
        self.config, self.folder = self.request.config, self.store.folder(*self.request.place)
        self.facts = {**request_facts(self.request), "processes": self.processes.count}

    def run(self) -> Record:
        """Train and evaluate, from the newest snapshot if there is one, and keep the results; call it once.

        Whatever ends the run, a record says so: finished, failed, diverged or interrupted; then what ended it is
        raised. A finished record stays, and scores are kept even if the weights cannot be written.
        A signal that `glue_bench.training.stopping.SIGNALS` handles stops it after the current update, with a snapshot.
        """
        started = time.perf_counter()
        try:
            best = self._prepare()
            fitted = self._fit(best)
            record = self._evaluate(fitted, best=best, started=started)
            if not self.processes.leads:
                return record
            try:
                if self.config.save_model:
                    record = self._save_model(record, decay=fitted.untouched_decay)
            finally:
                self.check_owner()
                write_history(self.folder / "history.jsonl", self.history)
                self.store.save(record)
        except (DiskError, UsageError, LostLeaseError):
            raise  # not recorded: disk full, usage error, or another worker owns the run
        except BaseException as error:
            if self.processes.leads:
                self.check_owner()
                self.store.keep_failure(self.request, error, history=self.history, **self.facts)
            raise
        self.store.discard_snapshots(record)
        with contextlib.suppress(OSError):  # the result is kept even if this fails
            (self.folder / "error.log").unlink()  # of an earlier attempt
        return record

    def _load_inputs(self) -> tuple[Pretrained, TaskData]:
        """Find the pretrained weights and what the training starts from, and read the rows."""
        self.on_phase("loading")
        config = self.config
        pretrained = self.start = resolve_pretrained(config.encoder)
        source = resolve_source(config.data, config.task)
        for part, found in (("encoder", encoder_identity(config.encoder, pretrained)), ("data", dict(source.identity))):
            if found != self.request.inputs[part]:
                title = self.request.title
                raise InputError(f"{title}: the files of its {part} changed since the run was planned; run again")
        if parent := self.request.parent:
            record, folder = self.store.load(*parent.place), self.store.folder(*parent.place)
            if record is None or not record.finished:
                raise InputError(f"{folder}: no model of {parent.title} to start from; run it with save_model=true")
            folder = check_weights(FinishedRun(record=record, folder=folder))
            self.start = dataclasses.replace(pretrained, folder=folder, weights_sha256=str(record.model_sha256))
        return pretrained, load_task_data(source, config.data, task=config.task, seed=config.seed)

    def _prepare(self) -> BestEpoch | None:
        """Read everything; return what chooses among the epochs, None to keep the last.

        The run itself must not keep it, since it refers to the run: the model would stay in memory after the run.
        """
        config, trainer, task = self.config, self.config.trainer, self.config.task
        exact, at, by = trainer.deterministic, self.processes.local_rank, trainer.products
        way = {"multiply": by, "before": products_of_newest(self.folder / "snapshots")}
        self.placement = choose_placement(trainer.device, trainer.precision, deterministic=exact, local_rank=at, **way)
        if self.placement.device.type == "cpu":
            keep_freed_memory()
        pretrained, data = self._load_inputs()
        self.on_phase("tokenising")
        texts = load_texts(self.start.folder, config)
        encoded = {name: texts.encode(split, cache=cache_folder("encoded")) for name, split in data.splits.items()}
        head = SeedStreams.from_seed(config.seed).head
        self.model = model = load_trainable(self.start.folder, config, outputs=task.outputs, head_seed=head)
        for split in encoded.values():
            check_tokens(model, split)
        device, threads = self.placement.device, plural(torch.get_num_threads(), "thread")
        seen: dict[str, Any] = {"source": data.source, "fingerprints": data.fingerprints, "rows": data.rows}
        reasons = task.not_comparable_because(init=self.request.init, selection=config.selection, **seen)
        every = {name: Rows(encoded[name], split.labels, split.idx) for name, split in data.splits.items()}
        self.encoded = encoded
        self.train_rows, self.choosing_rows, self.scored_rows = divide_rows(config, every)
        choosing = {name: len(rows.idx) for name, rows in self.choosing_rows.items()}
        self.facts.update(
            encoder={
                **{key: getattr(pretrained, key) for key in ("name", "hub_id", "revision", "weights_sha256")},
                **({"init_sha256": self.start.weights_sha256} if self.request.parent else {}),
                "parameters": sum(each.numel() for each in model.parameters()),
                "trained": sum(each.numel() for each in trained(model).values()),
            },
            data={
                **{key: getattr(data, key) for key in ("source", "dataset", "revision", "fingerprint", "fingerprints")},
                "checked": task.checked(source=data.source, fingerprints=data.fingerprints),
                "rows": data.rows | {name: len(rows.idx) for name, rows in self.scored_rows.items()},
                **({"choosing": choosing} if config.selection == "halves" else {}),
                "overlap": data.overlap(task.train),
                "truncated": {name: rows.truncated for name, rows in encoded.items()},
            },
            comparable=not reasons,
            not_comparable_because=reasons,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device}, {threads}",
            precision=self.placement.precision,
            engine=model.engine,
            execution=model.execution(self.placement),
        )
        if model.why_padded and trainer.engine == "auto":
            logger.warning("%s runs padded, which is slower: %s", pretrained.name, model.why_padded)
        model.cut_vocabulary(np.concatenate([split.tokens for split in encoded.values()]))
        if not choosing:
            return None
        return BestEpoch(model, functools.partial(self.score_on, self.choosing_rows), patience=trainer.patience)

    def _fit(self, best: BestEpoch | None) -> FitResult:
        self.on_phase("training")

        def note_step(line: StepReport) -> None:
            self.facts["steps"] = line.step
            self.on_step(line)

        tokens = hashlib.sha256()
        for _, split in sorted(self.encoded.items()):
            tokens.update(split.tokens.tobytes())
            tokens.update(split.offsets.tobytes())
        # A snapshot is usable only if all of these are the same.
        belongs_to = {
            "run_id": self.request.run_id,
            "weights": self.start.weights_sha256,
            "tokens": tokens.hexdigest(),
            "engine": self.model.engine,
            "precision": self.placement.precision,
            "device": self.placement.device.type,
            "torch": torch.__version__,
            "products": self.facts["execution"].get("products", "torch"),
        }
        snapshots = SnapshotStore(self.folder / "snapshots", belongs_to=belongs_to, check_owner=self.check_owner)
        with SIGNALS.at_a_good_moment():
            return fit(
                self.model,
                self.train_rows.encoded,
                labels=self.train_rows.labels,
                settings=self.config.trainer,
                streams=SeedStreams.from_seed(self.config.seed),
                placement=self.placement,
                history=self.history,
                on_step=note_step,
                snapshots=snapshots if self.processes.leads else None,
                signals=SIGNALS,
                selection=best,
                score_dev=functools.partial(self.score_on, self.scored_rows),
                processes=self.processes,
            )

    def _evaluate(self, fitted: FitResult, *, best: BestEpoch | None, started: float) -> Record:
        """Predict and score every validation split, keep the predictions once all are scored, and make the record."""
        from glue_bench.tasks.metrics import score_predictions, why_undefined

        metrics, scores, undefined = self.config.task.metrics, dict[str, dict[str, float]](), dict[str, str]()
        predicted, seconds = dict[str, Predictions](), 0.0
        for name, rows in self.scored_rows.items():
            began = time.perf_counter()
            logits, prediction = self.predict(rows, phase="evaluating")
            seconds += time.perf_counter() - began
            if self.processes.leads:
                scores[name] = score_predictions(metrics, prediction, labels=rows.labels)
                reasons = why_undefined(metrics, prediction, labels=rows.labels)
                undefined |= {str(ScorePart(name, metric)): reason for metric, reason in reasons.items()}
                predicted[name] = Predictions(idx=rows.idx, label=rows.labels, prediction=prediction, logits=logits)
        self.on_phase("writing")
        self.check_owner()
        hashes = {name: own.write(predictions_path(self.folder, name)) for name, own in predicted.items()}
        trained = {key: getattr(fitted, key) for key in ("steps", "epochs", "tokens", "resumed_at", "accumulation")}
        trained["execution"] = {**self.facts["execution"], "kernels": fitted.kernels, "graph": fitted.graph}
        chosen = {
            "on": "holdout" if self.config.selection == "holdout" else "validation",
            "rows": sum(len(rows.idx) for rows in self.choosing_rows.values()),
            **({"stopped": fitted.epochs} if fitted.stopped else {}),
        }
        times = {"train": fitted.seconds, "eval": seconds, "total": time.perf_counter() - started + fitted.earlier}
        return Record(
            **self.facts | trained,
            scores=scores,
            undefined=undefined,
            predictions_sha256=hashes,
            selected=best.selected | chosen if best else {},
            seconds={name: round(value, 3) for name, value in times.items()},
            status="finished",
            ended=now(),
        )

    def _save_model(self, record: Record, *, decay: float) -> Record:
        self.model.restore_vocabulary(decay=decay)
        if adapters := self.model.adapters:  # before they are merged
            encoder, folder = self.config.encoder, self.start.folder
            hub_id = None if self.request.parent else encoder.hub_id
            with replace_folder_atomically(self.folder / "adapter", ours=ADAPTER_FILES) as target:
                adapters.save(target, base=hub_id or str(folder), revision=encoder.revision if hub_id else None)
        if record.keeps_adapter:
            return record
        ours = ("config.json", "model.safetensors", "README.md", *TOKENIZER_FILES)
        with replace_folder_atomically(self.folder / "model", ours=ours) as target:
            save_classifier(self.model, target, pretrained=self.start.folder, labels=self.config.task.labels)
            sha256 = file_sha256(target / "model.safetensors")
        return dataclasses.replace(record, model_sha256=sha256)

    def predict(self, rows: Rows, *, phase: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return (n, outputs) logits and (n,) predictions."""
        # evaluate and scikit-learn take seconds to import: not before the first update.
        from glue_bench.tasks.metrics import decide

        logits = predict(
            self.model,
            rows.encoded,
            batch_size=self.config.trainer.eval_batch_size,
            placement=self.placement,
            on_batch=lambda: self.on_phase(phase),
            processes=self.processes,
        )
        return logits, decide(logits, regression=self.config.task.regression)

    def score_on(self, every: Mapping[str, Rows]) -> float:
        """Return the task's score with the current weights; if there is one set of rows, it stands for every split."""
        from glue_bench.tasks.metrics import score_predictions

        task, scores = self.config.task, dict[str, dict[str, float]]()
        for name, rows in every.items():
            _, prediction = self.predict(rows, phase="selecting")
            found = score_predictions(task.metrics, prediction, labels=rows.labels)
            scores |= dict.fromkeys(task.validation if len(every) == 1 else [name], found)
        self.on_phase("training")
        return headline(task.parts("card"), scores)
