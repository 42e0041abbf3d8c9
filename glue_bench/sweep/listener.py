"""Who is told how a sweep goes on. What is not overridden is not told."""

from typing import TYPE_CHECKING

from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner
from glue_bench.runs.record import Record

if TYPE_CHECKING:
    from glue_bench.training.updates import StepReport


class Listener:
    """Gets the events of a sweep, and does nothing: the board, plain lines and a worker's pipe do something."""

    def started(self, request: RunRequest) -> None:
        """A run begins here."""

    def phase(self, request: RunRequest, name: str) -> None:
        """A run goes on to loading, tokenising, training, selecting, evaluating or writing."""

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done."""

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Another worker has the run; told again as it goes on."""

    def waiting(self, request: RunRequest) -> None:
        """The run is to be done again: its worker stopped or lost it."""

    def stopped(self, request: RunRequest) -> None:
        """The run was asked to stop, and has: the same command goes on with it."""

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now: finished, failed, diverged or interrupted."""

    def note(self, text: str) -> None:
        """A remark about the sweep as a whole."""
