"""The processes that torchrun started for one run, and what they exchange. Knows no loop.

Each does its share of every batch; the first (rank 0) also plans, writes and prints. In a single process nothing is
exchanged, and torch is not even imported.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from glue_bench.errors import DivergedError, LostError, UsageError, describe, list_names
from glue_bench.reading import whole_number

if TYPE_CHECKING:
    from torch import Tensor

_LEFT = "glue-bench-left"  # key of the launcher's store under which the first process says how it ended
_BETWEEN_GPUS = timedelta(minutes=2)  # after which NCCL gives up a sum: it ends the process, since it cannot raise
_PATIENCE = 10.0  # seconds that the first process has to write its record and end
_FOR_PEERS = timedelta(minutes=5)  # the longest wait for the other processes
_QUIET = 3.0  # seconds before it is announced
_MOST = 100_000  # processes

logger = logging.getLogger(__name__)


class Processes:
    """A run's processes, seen from one of them; as a context manager it connects them.

    Every method that exchanges something raises a LostError when another process has ended.
    """

    def __init__(self, *, rank: int = 0, count: int = 1, local_rank: int | None = None) -> None:
        """Connect nothing yet; `local_rank` is the device of this process on its host, None for a single process."""
        self.rank, self.count, self.local_rank = rank, count, local_rank
        self._store: Any = None
        self._gpus: Any = None  # the group that sums what is on GPUs

    @classmethod
    def from_environment(cls) -> "Processes":
        """Read the variables that torchrun sets; a single process if one is missing, a UsageError if one is invalid."""
        if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            return ALONE
        if (count := _read_number("WORLD_SIZE", range(1, _MOST + 1))) == 1:
            return ALONE
        _read_number("MASTER_PORT", range(2**16))
        rank, local_rank = (_read_number(name, range(count)) for name in ("RANK", "LOCAL_RANK"))
        return cls(rank=rank, count=count, local_rank=local_rank)

    @property
    def leads(self) -> bool:
        """Whether this is the process that plans, writes and prints."""
        return self.rank == 0

    def refuse(self, what: str) -> None:
        """End all processes, if there are several: the first by a UsageError, the others by a SystemExit."""
        if not self.leads:
            raise SystemExit(UsageError.exit_code)
        if self.count > 1:
            raise UsageError(f"{what}: torchrun's processes share one run; start this without torchrun")

    def __enter__(self) -> "Processes":
        if self.count == 1:
            return self
        import torch

        failed = list[BaseException]()

        def connect() -> None:
            try:
                self._connect()
            except BaseException as error:
                failed.append(error)

        # In a thread, since nothing but the main thread obeys signals.
        thread, limit = threading.Thread(target=connect, name="peers", daemon=True), _FOR_PEERS.total_seconds()
        thread.start()
        thread.join(_QUIET)
        if thread.is_alive():
            others = list_names(str(rank) for rank in range(self.count) if rank != self.rank)
            place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            text = "RANK=%d and WORLD_SIZE=%d are set: waiting for rank %s at %s, for %.0f minutes at most"
            logger.warning(text, self.rank, self.count, others, place, limit / 60)
            thread.join(limit + _PATIENCE - _QUIET)
        if thread.is_alive():
            raise LostError("the other processes did not connect; to run without them, unset RANK and WORLD_SIZE")
        if failed:
            raise failed[0]
        if torch.cuda.is_available():
            with _lost_if_it_fails():
                self._gpus = torch.distributed.new_group(backend="nccl", timeout=_BETWEEN_GPUS)
        return self

    def _connect(self) -> None:
        from torch.distributed.rendezvous import rendezvous

        address = os.environ["MASTER_ADDR"]
        try:
            socket.getaddrinfo(address, None)  # torch would try for minutes, with lines of its own
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "no host has such a name"
            raise UsageError(f"MASTER_ADDR={address}: not found: {reason}; to run in one process, unset it") from error
        with _lost_if_it_fails() as torch:
            self._store, _, _ = next(rendezvous("env://", timeout=_FOR_PEERS))
            # Gloo exchanges what is on a CPU, for which no GPU waits, and may take long: the first one writes.
            torch.distributed.init_process_group("gloo", store=self._store, rank=self.rank, world_size=self.count)

    def __exit__(self, *raised: Any) -> None:
        error: BaseException | None = raised[1]
        if self.count == 1:
            return
        if error is None:
            with _lost_if_it_fails() as torch:
                torch.distributed.destroy_process_group()
            return
        if self.leads:
            with contextlib.suppress(RuntimeError):  # the store goes away with its host
                self._store.set(_LEFT, describe(error))
            return
        words, deadline = None, time.monotonic() + _PATIENCE
        with contextlib.suppress(KeyboardInterrupt, RuntimeError):
            # torchrun kills the others as soon as one has failed: the first must have written its record by then.
            while not (said := self._store.check([_LEFT])) and time.monotonic() < deadline:
                time.sleep(0.05)
            if said:
                words = self._store.get(_LEFT).decode()
                time.sleep(0.5)  # time for it to end
        if words == describe(error) or isinstance(error, LostError | DivergedError | KeyboardInterrupt):
            raise SystemExit(getattr(error, "exit_code", 1)) from error  # silently: the first says why

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value, on the CPU; the others get a copy."""
        if self.count == 1:
            return value
        box = [value]
        with _lost_if_it_fails() as torch:
            torch.distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def largest(self, *numbers: int) -> list[int]:
        """Return each number's maximum over all processes; waits for every process."""
        if self.count == 1:
            return list(numbers)
        with _lost_if_it_fails() as torch:
            most = torch.tensor(numbers)
            torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
        return [int(number) for number in most]

    def add_up(self, tensor: "Tensor") -> None:
        """Replace a tensor by its sum over all processes, the same bits in each; does not wait for a GPU."""
        if self.count > 1:
            with _lost_if_it_fails() as torch:
                torch.distributed.all_reduce(tensor, group=self._gpus if tensor.is_cuda else None)


def _read_number(name: str, allowed: range) -> int:
    """Read a variable of the launcher, all of which are set; a UsageError if it is not among the `allowed` ones."""
    text = os.environ[name]
    number = whole_number(text)
    if number is not None and number in allowed:
        return number
    wanted = f"a launcher of several processes sets a whole number from {allowed[0]:,} to {allowed[-1]:,}"
    raise UsageError(f"{name}={text}: {wanted}; to run in one process, unset it")


ALONE = Processes()


class SharedGradients:
    """The gradients of a model, summed over all processes in one message per update."""

    def __init__(self, parameters: "Iterable[Tensor]", processes: Processes) -> None:
        """Leave it to the first sum to find out which parameters have a gradient."""
        self._parameters, self._processes = list(parameters), processes
        self._bucket: Any = None  # (all elements of these gradients + 1,), kept: new memory costs more than the copy

    def sum_with(self, loss: "Tensor") -> "Tensor":
        """Replace every gradient by its sum, and return the sum of `loss`, a scalar on the gradients' device.

        A process without rows has no gradients and adds zeros; parameters without a gradient anywhere keep none.
        """
        import torch

        if self._bucket is None:
            have = self._processes.largest(*(int(each.grad is not None) for each in self._parameters))
            self._parameters = [each for each, some in zip(self._parameters, have, strict=True) if some]
            self._bucket = torch.empty(sum(each.numel() for each in self._parameters) + 1, device=loss.device)
        held = [torch.zeros_like(each) if each.grad is None else each.grad for each in self._parameters]
        torch.cat([each.flatten() for each in [*held, loss.detach()]], out=self._bucket)
        self._processes.add_up(self._bucket)
        pieces = self._bucket[:-1].split([each.numel() for each in held])
        for parameter, piece in zip(self._parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)  # in the bucket, until the next sum
        return self._bucket[-1].clone()  # type: ignore[no-any-return]


@contextlib.contextmanager
def _lost_if_it_fails() -> Iterator[Any]:
    """Yield torch, imported only for several processes; failures of torch.distributed become a LostError."""
    import torch

    try:
        yield torch
    except RuntimeError as error:  # every failure of torch.distributed, of either backend
        raise LostError("another process of this run ended or cannot be reached; --debug shows more") from error
