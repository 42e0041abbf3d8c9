"""A campaign of SIGKILLs against sweeps of tiny runs, each sweep repeated until every run is recorded:
`python -m tests.support.kills [--kills N] [--seed S] [--sides N]`.

A sweep of many short runs is started, and processes are killed in a phase that is drawn beforehand: most often one
worker, whose driver lives on and starts the next run; sometimes the driver, the server that forks the workers, or all
at once. The same command with --retry-failed then continues with what is left. A round ends when that command ends with
exit code 0. What must hold: every record of a finished run that was ever seen is there to the byte at the end, no run
is trained again after its record was written, and scores and predictions equal those of a sweep that nobody disturbed.

Starting Python and loading torch would cost more than all the rest. So the command line and its fork server are forked
from a process that has loaded everything; from there on they are the real ones, each a process of its own.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

from tests.support.loaded import folder_in_memory
from tests.support.sweeps import (
    Sweeps,
    assert_same_results,
    descendants,
    kill,
    records_in,
    trainings,
    workers_of,
)
from tests.support.tiny import make_local_glue, make_tiny_roberta

TARGETS = {"a worker": 84, "the driver": 6, "everything": 7, "the fork server": 3}  # with their weights
PHASES = {"starting": 5, "training": 50, "evaluating": 25, "writing": 20}
_AT_WORK = ("training", "evaluating", "writing")
_AT_ONCE = 2  # kills that wait for their phase: as many as there are workers
_BRIEF = 0.01  # seconds: about the length of an evaluation or of the writing of a tiny run


@dataclass(kw_only=True)
class Toll:
    """What was done, and what it cost."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)  # by target and phase
    processes: int = 0  # killed, by all kills together
    recorded: int = 0  # runs that the rounds recorded
    resumed: int = 0  # of these: from a snapshot
    lost: list[str] = field(default_factory=list)  # records that were there once and are gone, or others now
    twice: list[str] = field(default_factory=list)  # trainings of runs that were recorded before
    rounds: int = 0
    commands: int = 0

    def __str__(self) -> str:
        phases = sorted({phase for _, phase in self.kills})
        lines = ["kills".ljust(16) + "".join(phase.rjust(12) for phase in [*phases, "all"])]
        for target in (*TARGETS, "all"):
            counts = [sum(self.kills[each, phase] for each in TARGETS if target in (each, "all")) for phase in phases]
            lines.append(target.ljust(16) + "".join(str(count).rjust(12) for count in [*counts, sum(counts)]))
        did = f"{self.rounds} rounds, {self.commands} commands, {self.processes} processes killed"
        runs = f"{self.recorded} runs recorded, {self.resumed} of them resumed"
        return "\n".join([*lines, f"{did}; {runs}, {len(self.lost)} lost, {len(self.twice)} trained twice"])

    def add(self, other: "Toll") -> None:
        """Add what another campaign did."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def in_phases(self, *phases: str) -> int:
        """Return the number of kills in these phases."""
        return sum(count for (_, phase), count in self.kills.items() if phase in phases)


@dataclass(kw_only=True)
class Campaign:
    """Rounds of kills against sweeps of the same runs."""

    sweeps: Sweeps
    words: list[str]  # which runs
    epochs: int
    calm: int = 0  # with fewer runs left than these, a round continues undisturbed
    toll: Toll = field(default_factory=Toll)
    training: float = 0.0  # seconds that a run trains

    def undisturbed(self) -> float:
        """Run the sweep to whose results the others are compared; return the seconds that one of its runs trains."""
        assert self._start("undisturbed").wait() == 0, self._log("undisturbed")[-3000:]
        took = [record.seconds["train"] for record in records_in(self.sweeps.folder, "undisturbed").values()]
        self.training = statistics.median(took)
        return self.training

    def carry_out(self, kills: int, *, seed: str) -> Toll:
        """Make kills, in as many rounds as it takes."""
        rng, done, number = random.Random(seed), 0, 0
        aims = draw_aims(rng)
        while done < kills:
            number += 1
            began, before = time.monotonic(), done
            done += self.round(f"{seed}-round{number}", aims, rng=rng, kills=kills - done)
            took = time.monotonic() - began
            print(f"{seed}, round {number}: {done - before} kills in {took:.0f} s", flush=True)  # noqa: T201
        return self.toll

    def round(self, results: str, aims: Iterable[tuple[str, str]], *, rng: random.Random, kills: int) -> int:
        """Kill up to `kills` times, until the sweep has recorded every run; check what it left; return the kills."""
        folder, done, seen = self.sweeps.folder, 0, dict[Path, bytes]()
        upcoming, waiting = iter(aims), list[tuple[str, str]]()
        while True:
            process = self._start(results)
            phases = folder / f"{results}.phases"
            done += self._hunt(process, phases, aims=upcoming, waiting=waiting, rng=rng, kills=kills - done)
            finished = [path for path in self._records(results) if b'"finished"' in path.read_bytes()]
            seen |= {path: path.read_bytes() for path in finished if path not in seen}
            if process.returncode == 0:
                break
            assert process.returncode in (1, -9), self._log(results)[-3000:]
        begun = trainings(folder, results)
        assert self._start(results).wait() == 0  # nothing is missing; what killed processes left is tidied up
        assert trainings(folder, results) == begun
        log = self._log(results)
        # A traceback alone may be multiprocessing's: its server prints one if its driver is killed while they talk.
        assert not [word for word in ("damaged record", "internal error") if word in log], log[-3000:]
        toll, now = self.toll, records_in(folder, results)
        toll.lost += [str(path) for path, content in seen.items() if not path.exists() or path.read_bytes() != content]
        toll.twice += [name for name in trainings(folder, results) if name.endswith("!")]
        toll.recorded += len(now)
        toll.resumed += sum(bool(record.resumed_at) for record in now.values())
        toll.rounds += 1
        assert_same_results(folder, results, "undisturbed")
        return done

    def _start(self, results: str) -> subprocess.Popen[str]:
        self.toll.commands += 1
        return self.sweeps(
            *self.words,
            "executor.workers=2",
            "trainer.snapshot_minutes=0.0005",
            "--retry-failed",
            results=results,
            epochs=self.epochs,
            log=f"{results}.log",
        )

    def _log(self, results: str) -> str:
        return (self.sweeps.folder / f"{results}.log").read_text()

    def _left(self, results: str) -> int:
        """Return how many runs of the round are not recorded as finished."""
        finished = sum(b'"finished"' in path.read_bytes() for path in self._records(results))
        return len(self._records("undisturbed")) - finished

    def _records(self, results: str) -> list[Path]:
        return list((self.sweeps.folder / results).glob("runs/*/*/*/record.json"))

    def _hunt(
        self,
        process: subprocess.Popen[str],
        phases: Path,
        *,
        aims: Iterator[tuple[str, str]],
        waiting: list[tuple[str, str]],
        rng: random.Random,
        kills: int,
    ) -> int:
        """Kill up to `kills` times, each a moment after a run has come into the phase, until the sweep ends.

        Args:
            waiting: aims that no run has met yet; changed in place.
        """
        done, due = 0, dict[Path, tuple[float, tuple[str, str]]]()
        while process.poll() is None:
            wanted = min(_AT_ONCE, kills - done) - len(waiting) - len(due)
            if wanted > 0:
                waiting += itertools.islice(aims, wanted)
                waiting[:] = waiting if self._left(phases.stem) >= self.calm else []
            if not waiting and not due:
                process.wait()
            now = {path: _read(path).partition(" ")[0] for path in phases.iterdir()}
            if any(phase == "starting" for _, phase in waiting):
                known = [_read(path).partition(" ")[2] for path in now]
                now |= {Path(str(new)): "starting" for new in workers_of(process.pid) if str(new) not in known}
            for path, name in now.items():
                if path not in due and (aim := next((aim for aim in waiting if aim[1] == name), None)):
                    waiting.remove(aim)
                    delay = rng.uniform(0.0, 0.8 * self.training if name == "training" else _BRIEF)
                    due[path] = time.monotonic() + delay, aim
            for path, (when, aim) in list(due.items()):
                if time.monotonic() >= when:
                    del due[path]
                    hit = self._shoot(process, path, aim=aim)
                    done += hit
                    waiting += [] if hit else [aim]
            time.sleep(0.003)
        waiting += [aim for _, aim in due.values()]
        return done

    def _shoot(self, process: subprocess.Popen[str], run: Path, *, aim: tuple[str, str]) -> bool:
        """Kill the target in which the run is; return False if the run or the sweep has ended."""
        target, phase = aim
        worker = int(run.name) if phase == "starting" else int(_read(run).partition(" ")[2] or 0)
        if not worker or process.poll() is not None:
            return False
        victims = {
            "a worker": [worker],
            "the driver": [process.pid],
            "everything": [process.pid, *descendants(process.pid)],
            "the fork server": [child for child in descendants(process.pid) if worker in descendants(child)][:1],
        }[target]
        hit = kill(victims)
        if target in ("the driver", "everything"):
            process.wait()
        if hit:
            now = "starting" if phase == "starting" else _read(run).partition(" ")[0] or "leaving"  # it wrote that last
            self.toll.kills[target, "starting" if now in ("loading", "tokenising") else now] += 1
            self.toll.processes += hit
            run.unlink(missing_ok=True)
        return bool(hit)


def _read(path: Path) -> str:
    """Read the file of a run's phase, which is gone when the run has ended."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def draw_aims(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Draw targets and phases without end."""
    while True:
        (target,), (phase,) = (rng.choices(list(all_), list(all_.values())) for all_ in (TARGETS, PHASES))
        yield target, phase


def main() -> int:
    """Carry out a campaign on runs that are short but snapshot often.

    Returns:
        1 if something was lost or done twice, or fewer than half of the kills hit a run at work.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    for name, usual in (("--kills", 1000), ("--seed", 7), ("--sides", 2)):
        parser.add_argument(name, type=int, default=usual)
    chosen = parser.parse_args()
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="kills-", dir=folder_in_memory()))
    os.environ["GLUE_BENCH_CACHE"] = str(folder / "cache")
    words = ["encoder=custom", f"encoder.path={make_tiny_roberta(folder / 'encoder')}", "encoder.name=tiny"]
    words += ["data=local", f"data.path={make_local_glue(folder / 'glue')}", "trainer.device=cpu"]
    runs = ["tasks=[rte,mrpc,sst2,stsb]", f"seeds=[{','.join(map(str, range(1, 13)))}]"]
    sides = [f"seed{chosen.seed}-side{side}" for side in range(chosen.sides)]
    campaigns = [Campaign(sweeps=Sweeps(folder, words), words=runs, epochs=5, calm=3) for _ in (*sides, "undisturbed")]
    training, toll = campaigns.pop().undisturbed(), Toll()
    print(f"{chosen.kills} kills, seed {chosen.seed}; a run trains for {training:.1f} s", flush=True)  # noqa: T201
    with ProcessPoolExecutor(chosen.sides, mp_context=multiprocessing.get_context("fork")) as pool:
        begun = list[Future[Toll]]()
        for number, (campaign, side) in enumerate(zip(campaigns, sides, strict=True)):
            campaign.training, share = training, (chosen.kills + number) // chosen.sides
            begun.append(pool.submit(campaign.carry_out, share, seed=side))
        for each in begun:
            toll.add(each.result())
    print(f"{toll}; {time.monotonic() - began:.0f} s")  # noqa: T201
    shutil.rmtree(folder)
    return int(bool(toll.lost or toll.twice or toll.in_phases(*_AT_WORK) < chosen.kills / 2))


if __name__ == "__main__":
    sys.exit(main())
