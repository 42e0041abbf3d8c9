"""Updates as graphs: all kernels of an update are started at once, by a graph that was captured from an earlier one."""

import logging
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from glue_bench.models.packing import Packed
from glue_bench.models.placement import Placement
from glue_bench.text import first_line, plural

_WARM_UPS = 2  # updates of a shape that are made kernel by kernel: libraries get ready, and rare shapes stay so

logger = logging.getLogger(__name__)


class CudaCapture:
    """CUDA graphs that share one memory pool: what one leaves there, no other needs."""

    def __init__(self, device: torch.device) -> None:
        """Capture nothing yet."""
        self._device, self._pool = device, torch.cuda.graph_pool_handle()

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record the kernels that `run` starts on the device; return what starts them again."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            run()
        return graph.replay

    def free(self) -> None:
        """Forget everything, after a failure too."""
        # A capture that failed may leave the generator in a state in which it refuses to work outside of a graph.
        generator = torch.cuda.default_generators[self._device.index]
        generator.graphsafe_set_state(generator.clone_state())
        torch.cuda.empty_cache()


class Graphs:
    """The captured updates of a training, one for each shape of its batches."""

    def __init__(self, run: Callable[[Packed], None], *, capture: CudaCapture, placement: Placement) -> None:
        """Capture nothing yet; `run` makes an update with a batch on the device."""
        self._run, self._capture, self._placement = run, capture, placement
        self._seen = Counter[tuple[int, int]]()
        self._held = dict[tuple[int, int], tuple[Tensor, Callable[[], None]]]()
        self._words = ""  # why updates are made kernel by kernel from now on

    def __str__(self) -> str:
        """Say what was captured, or why nothing is used, for the record."""
        return self._words or plural(len(self._held), "shape")

    def replay(self, packed: Packed, *, seed: int) -> bool:
        """Make the update of a batch, if its shape is captured or can be now; False: nothing was done."""
        if self._words:
            return False
        if packed.key not in self._held:
            self._seen[packed.key] += 1
            if self._seen[packed.key] <= _WARM_UPS:
                return False
            fixed, why = packed.to(self._placement.device, copy=True), ""
            try:  # this changes no weights
                self._held[packed.key] = fixed.buffer, self._capture.capture(lambda: self._run(fixed))
            except Exception as error:  # whatever it is, the update can be made without a graph
                why = f"{type(error).__name__}: {first_line(error)}"
            if why:  # here nothing keeps the failed attempt's tensors alive
                self.give_up(why)
                return False
        buffer, replay = self._held[packed.key]
        buffer.copy_(packed.buffer, non_blocking=True)
        self._placement.seed(seed)
        replay()
        return True

    def give_up(self, why: str) -> None:
        """Free all graphs, and make no more."""
        if not self._words:
            self._held.clear()
            self._capture.free()
            self._words = f"off: {why}"
            logger.warning("graphs of updates are not used from here on, which is slower: %s", why)
