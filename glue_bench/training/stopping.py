"""Signals that ask a run to stop: obeyed at once, or after the current update if a snapshot can be kept."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from glue_bench.stops import STOPS


class Stopped(KeyboardInterrupt):
    """A signal stopped the work; whatever cleans up after Ctrl-C cleans up after this too."""

    def __init__(self, number: int, where: str = "") -> None:
        """Name the signal, and where the work stopped."""
        self.name, self.exit_code = STOPS[number]
        self.remark = ""  # printed with it by the command
        super().__init__(f"{self.name}{where}")


class StopSignals:
    """What SIGINT, SIGTERM and SIGUSR1 do to this process."""

    def __init__(self) -> None:
        """Handle nothing before `handled` is entered."""
        self._waiting = self._stopping = False
        self.pending = 0  # the signal that waits, in this or another process of the run; 0 if there is none

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Turn the signals into `Stopped`; the earlier handlers are restored. Only main threads get signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._stopping, self.pending = False, 0
        # nohup asked to survive a closed terminal.
        asked = [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._receive) for number in asked}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def at_a_good_moment(self) -> Iterator[None]:
        """Let the first signal wait for `obey`; a SIGINT after it stops at once.

        One that still waits at the end is obeyed, but keeps waiting if another error ended the block.
        """
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
        self.obey()

    def obey(self, where: str = "") -> None:
        """Raise `Stopped` for the signal that waits, if any."""
        number, self.pending = self.pending, 0
        if number:
            self._stop(number, where)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._waiting and not self.pending:
            self.pending = number
        elif number == signal.SIGINT or not (self._waiting or self._stopping):
            self._stop(number)

    def _stop(self, number: int, where: str = "") -> None:
        # SIGTERM often follows SIGUSR1; it must not interrupt the clean-up.
        self._stopping = True
        raise Stopped(number, where)


SIGNALS = StopSignals()
