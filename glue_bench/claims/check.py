"""Every claim of a card to its row. torch is loaded only once the first model is looked at."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glue_bench.claims.files import ModelFiles
from glue_bench.claims.rows import NOT_CHECKABLE, NOT_RUN, ClaimRow, ClaimsReport, make_row
from glue_bench.claims.scores import glue_score_claims
from glue_bench.claims.statements import (
    ArchitectureClaim,
    Card,
    CaseClaim,
    Claim,
    FillMaskClaim,
    GlueClaim,
    ParametersClaim,
    SpeedClaim,
)
from glue_bench.claims.tokens import check_case
from glue_bench.config.schema import TrainerConfig
from glue_bench.errors import InputError
from glue_bench.runs.record import Record
from glue_bench.tasks.published import PublishedTable

if TYPE_CHECKING:
    from glue_bench.claims.architecture import Subject
    from glue_bench.claims.speed import Bench

_VERDICTS = (
    "Verdicts: confirmed; contradicted (what was found instead stands beside it); undecided (measured, but not clearly "
    "enough); not checkable here (why stands beside it); not run (nothing was asked for, or nothing has finished)."
)


def check_card(
    card: Card,
    *,
    files: Mapping[str, ModelFiles],
    records: Iterable[Record],
    published: Sequence[PublishedTable],
    settings: TrainerConfig,
    repeats: int | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ClaimsReport:
    """Check what can be checked here.

    Args:
        files: of every model of the card.
        settings: device, precision, engine and optimiser of the measured training.
        repeats: pairs of a measurement; None to measure no speed.
        on_progress: told what is being done, a line each.

    Raises:
        UsageError: the device or engine of `settings` is not there.
    """
    on_progress("reading the models' files")
    desk = _Desk(card, files=files, settings=settings, repeats=repeats, on_progress=on_progress)
    rows = list[ClaimRow]()
    for claim in card.claims:
        if isinstance(claim, GlueClaim):
            rows += glue_score_claims(claim, records, published)
        else:
            rows.append(desk.check(claim))
    return ClaimsReport(
        title=card.title, rows=rows, notes=[_VERDICTS, *card.rules, *desk.notes()], machine=desk.machine
    )


class _Desk:
    """What the claims of one card share: opened models, and the two that are timed."""

    def __init__(
        self,
        card: Card,
        *,
        files: Mapping[str, ModelFiles],
        settings: TrainerConfig,
        repeats: int | None,
        on_progress: Callable[[str], None],
    ) -> None:
        from glue_bench.claims.architecture import open_subject

        self.machine: dict[str, Any] = {}
        self._card, self._files, self._settings, self._repeats = card, files, settings, repeats
        self._tell = on_progress
        self._subjects = {name: open_subject(model, files[name]) for name, model in card.models.items()}
        self._fillers = dict[str, Any]()
        self._benches: dict[tuple[str, str], Bench] = {}

    def check(self, claim: Claim) -> ClaimRow:
        from glue_bench.claims.architecture import check_architecture, check_parameters

        subject = self._subjects[claim.model]
        if isinstance(claim, ArchitectureClaim):
            return check_architecture(claim, subject)
        if isinstance(claim, ParametersClaim):
            return check_parameters(claim, subject)
        if isinstance(claim, CaseClaim):
            return check_case(claim, subject.files)
        if isinstance(claim, FillMaskClaim):
            return self._fill_mask(claim)
        if isinstance(claim, SpeedClaim):
            return self._speed(claim)
        raise AssertionError(f"no check for {type(claim).__name__}")

    def notes(self) -> list[str]:
        """What was looked at, model by model, and what the speed was measured on."""
        notes = [_describe(model.title, self._subjects[name]) for name, model in self._card.models.items()]
        if self.machine:
            notes.append(_describe_machine(self.machine))
        return notes

    def _fill_mask(self, claim: FillMaskClaim) -> ClaimRow:
        from glue_bench.claims.fill_mask import check_fill_mask, open_filler

        if claim.model not in self._fillers:
            if not self._files[claim.model].missing:
                self._tell("fill-mask: loading the model")
            self._fillers[claim.model] = open_filler(self._files[claim.model])
        return check_fill_mask(claim, self._fillers[claim.model])

    def _speed(self, claim: SpeedClaim) -> ClaimRow:
        from glue_bench.models.placement import is_out_of_memory

        if self._repeats is None:
            return make_row(claim, NOT_RUN, why="left out by --quick")
        try:
            return self._measure(claim, repeats=self._repeats)
        except InputError as error:
            return make_row(claim, NOT_CHECKABLE, why=str(error))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return make_row(claim, NOT_CHECKABLE, why="the two models need more memory than there is")

    def _measure(self, claim: SpeedClaim, *, repeats: int) -> ClaimRow:
        from glue_bench.claims.speed import Bench, check_speed

        pair = self._subjects[claim.model], self._subjects[claim.against]
        key = (claim.model, claim.against)
        if key not in self._benches:
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before our own work counts in it
            bench = Bench(*(subject.config for subject in pair), settings=self._settings)
            self._benches[key], self.machine = bench, {**bench.machine(), "load_before": load}

        def tell(number: int, ratio: float) -> None:
            self._tell(f"{claim.title}: pair {number} of {repeats}: {ratio:.2f} times as fast")

        self._tell(f"{claim.title}: warming up")
        times = self._benches[key].measure(claim.phase, repeats=repeats, on_pair=tell)
        sources = " and ".join(dict.fromkeys(subject.basis for subject in pair))
        return check_speed(claim, times, architectures=sources)


def _describe(title: str, subject: "Subject") -> str:
    """Where a model's files come from, and why some are not there."""
    files, stated = subject.files, subject.stated
    parts = [f"{title}: {files.place}"]
    parts += [remark.removeprefix(f"model {files.place.partition(' ')[0]}: ") for remark in files.remarks]
    if subject.unread:
        parts.append(f"the stated architecture is {stated.architecture_source}")
    if files.weights_sha256 is not None:
        known = {None: "", files.weights_sha256: ", as"}.get(stated.weights_sha256, ", not as")
        told = f"{known} in {stated.weights_sha256_source}" if known else ""
        parts.append(f"SHA-256 of model.safetensors {files.weights_sha256}{told}")
    return "; ".join(parts) + "."


def _describe_machine(machine: Mapping[str, Any]) -> str:
    load = machine["load_before"]
    busy = "" if load is None else f", load average {load:.2f} before the measurement"
    return (
        f"Measured on {machine['device']} ({machine['name']}), {machine['cores']} cores, "
        f"threads: {machine['threads']}, {machine['precision']}, torch {machine['torch']}{busy}."
    )
