"""Signals that ask a run to stop: obeyed at once, or after the update at hand where a snapshot can be kept."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_PREEMPTED = 75
# SIGUSR1 is what a cluster sends before it takes a node back, SIGHUP what a closed terminal sends; Windows has neither.
HANDLED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal stopped the work; everything that cleans up after Ctrl-C does so here too."""

    def __init__(self, number: int, where: str = "") -> None:
        """Name the signal, and where the work stopped."""
        self.name = signal.Signals(number).name
        self.exit_code = EXIT_PREEMPTED if self.name == "SIGUSR1" else 128 + number
        self.remark = ""  # printed with it by the command
        super().__init__(f"{self.name}{where}")


class StopSignals:
    """What SIGINT, SIGTERM and SIGUSR1 do to this process."""

    def __init__(self) -> None:
        """Nothing is handled before `handled` is entered."""
        self._waiting = self._stopping = False
        self._pending: int | None = None

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Turn the signals into `Stopped`; the handlers before come back in the end. Only main threads get signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._stopping, self._pending = False, None
        before = {number: signal.signal(number, self._receive) for number in HANDLED if not _is_left_alone(number)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def at_a_good_moment(self) -> Iterator[None]:
        """Inside, the first signal waits for `obey`; a SIGINT after it stops at once.

        Raises:
            Stopped: a signal still waits at the end. It waits on if another error ended the block.
        """
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
        self.obey()

    @property
    def pending(self) -> int:
        """The signal that waits; 0 if none does."""
        return self._pending or 0

    def take_over(self, number: int) -> None:
        """Let a signal wait that another process of the run got, unless one waits here."""
        self._pending = self._pending or number

    def obey(self, where: str = "") -> None:
        """Raise what waits.

        Raises:
            Stopped: a signal was waiting.
        """
        number, self._pending = self._pending, None
        if number is not None:
            self._stop(number, where)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._waiting and self._pending is None:
            self._pending = number
        elif number == signal.SIGINT or not (self._waiting or self._stopping):
            self._stop(number)

    def _stop(self, number: int, where: str = "") -> None:
        # SIGTERM often follows SIGUSR1: what stops the run must not be stopped while it tidies up.
        self._stopping = True
        raise Stopped(number, where)


def _is_left_alone(number: int) -> bool:
    """Whether nohup asked to survive a closed terminal."""
    return signal.Signals(number).name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN


SIGNALS = StopSignals()
