"""Who is told how a sweep goes on: the live board, or plain lines."""

from typing import TYPE_CHECKING, Protocol

from glue_bench.claims import Owner
from glue_bench.identity import RunRequest
from glue_bench.records import Record

if TYPE_CHECKING:
    from glue_bench.updates import StepReport


class Listener(Protocol):
    """Gets the events of a sweep."""

    def started(self, request: RunRequest) -> None:
        """A run begins here."""

    def phase(self, request: RunRequest, name: str) -> None:
        """A run goes on to loading, tokenising, training, evaluating or writing."""

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done."""

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Another worker has the run; told again as it goes on."""

    def waiting(self, request: RunRequest) -> None:
        """The run is to be done again: its worker stopped or lost it."""

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now: finished, failed, diverged or interrupted."""

    def note(self, text: str) -> None:
        """A remark about the sweep as a whole."""


class Silence:
    """A listener that does nothing."""

    def started(self, request: RunRequest) -> None:
        """Nothing."""

    def phase(self, request: RunRequest, name: str) -> None:
        """Nothing."""

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """Nothing."""

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Nothing."""

    def waiting(self, request: RunRequest) -> None:
        """Nothing."""

    def ended(self, request: RunRequest, record: Record) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
