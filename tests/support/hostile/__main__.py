"""The trials, one after another, and counts by group."""

# ruff: noqa: T201

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support import hostile
from tests.support.hostile import configurations, inputs, progress, results, tables
from tests.support.hostile.rules import judge
from tests.support.hostile.trial import Trial
from tests.support.hostile.world import carry_out, make_world, picture
from tests.support.loaded import folder_in_memory, load

_GROUPS: list[Callable[[Trial], None]] = [
    *(results.records, results.files, results.folders, results.texts, results.predictions, results.caches),
    results.models,
    *(progress.plans, progress.leases, progress.snapshots, tables.published, tables.baselines),
    *(configurations.configurations, configurations.arguments, inputs.encoders, inputs.rows),
]
GROUPS = {function.__name__: function for function in _GROUPS}


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What every trial has in common; each is made from the seed, its group and its number."""

    seed: int
    groups: list[str]
    folder: Path  # holds the world that each trial gets a copy of
    shown: bool  # whatever comes of it

    def carry_out(self, number: int) -> tuple[str, int, float, str]:
        """Make a trial; return its group, its number, the command's seconds, and what to say about it."""
        group, folder = self.groups[number % len(self.groups)], self.folder / f"trial{number}"
        shutil.copytree(self.folder / "world", folder / "world", symlinks=True)
        plan, base = folder / "world" / "plan.jsonl", str(self.folder / "world")  # whose paths are absolute
        plan.write_text(plan.read_text().replace(base, str(folder / "world")))
        trial = Trial(rng=random.Random(f"{self.seed} {group} {number}"), world=folder / "world")
        GROUPS[group](trial)
        before, began = picture(trial.world, trial.allowed), time.monotonic()
        code, out, err = carry_out(trial, folder)
        took, said = time.monotonic() - began, ""
        broken = list(judge(trial, code, out=out, err=err, before=before))
        if broken or self.shown:
            words, last = " ".join(trial.words), (err.strip().splitlines() or [""])[-1]
            said = f"{number} {group}:{trial.about}\n    {words:.300}\n    {'; '.join(broken):.400}\n"
            said += f"    exit code {code}: {err if self.shown else last[:300]}"
        shutil.rmtree(folder)
        return group, number if broken else -1, took, said


def main() -> int:
    """Make the trials, print what failed and the counts by group; return 1 if a rule was broken."""
    parser = argparse.ArgumentParser(description=hostile.__doc__)
    parser.add_argument("--trials", type=int, default=1050)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="trials at once")
    parser.add_argument("--only", type=int, help="one trial, shown whole")
    parser.add_argument("--group", choices=GROUPS)
    chosen = parser.parse_args()
    counts, failed, began = Counter[str](), defaultdict[str, list[int]](list), time.monotonic()
    seconds, groups = defaultdict[str, float](float), [chosen.group] if chosen.group else list(GROUPS)
    with tempfile.TemporaryDirectory(prefix="hostile-", dir=folder_in_memory()) as made:
        campaign = Campaign(seed=chosen.seed, groups=groups, folder=Path(made), shown=chosen.only is not None)
        load()
        make_world(campaign.folder / "world")
        numbers = range(chosen.trials) if chosen.only is None else [chosen.only]
        with ProcessPoolExecutor(chosen.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
            for group, number, took, said in pool.map(campaign.carry_out, numbers):
                counts[group] += 1
                seconds[group] += took
                failed[group] += [number] if number >= 0 else []
                print(said, end="\n" if said else "", flush=True)
    for group, count in counts.items():
        each = f"{seconds[group] / count:.1f} s each"
        print(f"{group:16}{count:6} trials{len(failed[group]):6} failed {failed[group][:12] or ''} {each}")
    took = time.monotonic() - began
    print(f"seed {chosen.seed}: {counts.total()} trials, {sum(map(len, failed.values()))} failed, {took:.0f} s")
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main())
