"""Everything that one sweep needs, looked at in turn: quick checks first, torch last. Runs nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from glue_bench.config.schema import RunConfig, Sweep
from glue_bench.data.encoding import cache_folder
from glue_bench.data.hub import hub_cache_folder
from glue_bench.doctor.findings import NOTE, OK, Finding
from glue_bench.doctor.inputs import Input, examine_inputs
from glue_bench.doctor.machine import examine_cores, examine_device
from glue_bench.doctor.places import (
    Need,
    examine_disk,
    examine_leftovers,
    examine_results,
    examine_writable,
    needs_of_results,
)
from glue_bench.models.pretrained import encoder_name
from glue_bench.runs.store import RunStore
from glue_bench.text import plural


def examine_sweep(sweep: Sweep, parents: Sequence[RunConfig]) -> Iterator[Finding]:
    """Findings on a sweep, in the order in which they are known.

    Args:
        sweep: what it runs.
        parents: of the runs that these start from.
    """
    configs, seeds = sweep.configs, len(sweep.seeds)
    every = [*configs, *parents]
    runs = seeds * len(every)
    store = RunStore(Path(configs[0].results_dir))
    yield _tell_sweep(sweep, runs)
    yield examine_cores()
    results = examine_results(store)
    yield results
    yield from examine_leftovers(store)
    encoders = {str(config.encoder): config.encoder for config in every}
    tasks = {config.task.name: config.task for config in every}
    hub, inputs = examine_inputs(list(encoders.values()), configs[0].data, list(tasks.values()))
    yield hub
    yield from (each.finding for each in inputs)
    yield from _examine_caches(inputs)
    findings, at_once = examine_device(configs[0], runs=runs)
    yield from findings
    weights = max(each.weights for each in inputs)
    models = seeds * sum(config.save_model for config in every)
    need = needs_of_results(store.root, runs=runs, at_once=at_once, weights=weights, models=models)
    yield from examine_disk([*([need] if results.state == OK else []), *_needs_of_hub(inputs)])


def _tell_sweep(sweep: Sweep, runs: int) -> Finding:
    configs = sweep.configs
    tasks = list(dict.fromkeys(config.task.name for config in configs))
    encoders = list(dict.fromkeys(encoder_name(config.encoder) for config in configs))
    parts = [
        ", ".join(tasks),
        plural(len(sweep.seeds), "seed"),
        ", ".join(encoders),
        f"data={configs[0].data.source}",
        f"executor={configs[0].executor.kind}",
    ]
    return Finding(name="sweep", state=OK, found=f"{plural(runs, 'run')}: {'; '.join(parts)}")


def _examine_caches(inputs: Sequence[Input]) -> Iterator[Finding]:
    """Folders that are written besides the results: the hub's must be, the encoded texts' should."""
    if any(each.download for each in inputs):
        problem = examine_writable("hub's cache", hub_cache_folder(), "HF_HOME=FOLDER that you may write")
        yield from [problem] if problem else []
    problem = examine_writable("cache", cache_folder(), "GLUE_BENCH_CACHE=FOLDER that you may write")
    if problem:
        found = f"{problem.found}; texts are encoded again for every run"
        yield Finding(name=problem.name, state=NOTE, found=found, advice=problem.advice)


def _needs_of_hub(inputs: Sequence[Input]) -> list[Need]:
    download = sum(each.download for each in inputs)
    return [Need(place="the hub's cache", folder=hub_cache_folder(), sure=download, rough=0)] if download else []
