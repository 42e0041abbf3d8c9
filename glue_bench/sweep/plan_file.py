"""A plan as a file: one run a line, each with all that it needs, so that any job array can run them. Runs nothing."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glue_bench.config.schema import RunConfig, config_from_facts
from glue_bench.errors import InputError, UsageError
from glue_bench.files import write_text_atomically
from glue_bench.runs.identity import SCORES_VERSION, RunRequest
from glue_bench.sweep.estimate import Estimate
from glue_bench.sweep.plan import Plan

FORMAT = 1


def write_plan(path: Path, plan: Plan, estimates: Mapping[str, Estimate]) -> None:
    """Write every run of a plan, done ones too: a line keeps its number when the plan is written again.

    Folders are written as absolute paths.

    Raises:
        DiskError: the file cannot be written.
        UsageError: it is there, and is not the plan of the same runs: jobs may be queued on its lines.
    """
    _check_replaceable(path, plan)
    lines = []
    for index, request in enumerate(plan.requests):
        estimate = estimates.get(request.run_id)
        facts = {
            "index": index,
            "title": request.title,
            "state": state_of(request, plan),
            "estimated_seconds": round(estimate.seconds) if estimate else None,
            **_request_facts(request),
            "format": FORMAT,
            "scores_version": SCORES_VERSION,
        }
        lines.append(json.dumps(facts) + "\n")
    write_text_atomically(path, "".join(lines))


def _check_replaceable(path: Path, plan: Plan) -> None:
    if not path.exists():
        return
    try:
        known = [json.loads(line)["run_id"] for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--plan {path}: is there and is no plan, so it is not replaced; name another file") from error
    if known != [request.run_id for request in plan.requests]:
        raise UsageError(f"--plan {path}: holds another plan ({len(known)} runs); delete it or name another file")


def read_plan(path: Path, index: int) -> RunRequest:
    """The run of one line, counted from 0.

    Raises:
        InputError: the file cannot be read, or is no plan of this version.
        UsageError: there is no such line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--plan {path}: cannot be read ({error})") from error
    if not 0 <= index < len(lines):
        allowed = f"0 to {len(lines) - 1}" if lines else "none: the plan is empty"
        raise UsageError(f"--index {index}: no such line in {path}; allowed is {allowed}")
    try:
        facts = json.loads(lines[index])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, not {FORMAT}")
        if facts["scores_version"] != SCORES_VERSION:
            raise ValueError("written by a version that gives other scores; write the plan again")
        return _request_from(facts)
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise InputError(f"{path} line {index + 1}: no run of a plan of this glue-bench ({error})") from error


def state_of(request: RunRequest, plan: Plan) -> str:
    """missing, running, done, failed, diverged, or not needed: a parent whose children are all done."""
    if request.run_id in plan.running:
        return "running"
    if request.run_id in plan.earlier:
        return plan.earlier[request.run_id].status
    record = plan.records.get(request.run_id)
    if record is None:
        return "missing" if request in plan.missing else "not needed"
    return "done" if record.status == "finished" else record.status


def _request_facts(request: RunRequest) -> dict[str, Any]:
    config = dataclasses.asdict(request.config)
    config["results_dir"] = str(Path(config["results_dir"]).resolve())
    for part in ("data", "encoder"):
        if config[part].get("path"):
            config[part]["path"] = str(Path(config[part]["path"]).resolve())
    return {
        "run_id": request.run_id,
        "setting_id": request.setting_id,
        "encoder": request.encoder,
        "inputs": dict(request.inputs),
        "parent": _request_facts(request.parent) if request.parent else None,
        "config": config,
    }


def _request_from(facts: Mapping[str, Any]) -> RunRequest:
    config: RunConfig = config_from_facts(facts["config"])
    parent = facts["parent"]
    return RunRequest(
        config=config,
        encoder=facts["encoder"],
        setting_id=facts["setting_id"],
        run_id=facts["run_id"],
        inputs=facts["inputs"],
        parent=_request_from(parent) if parent else None,
    )
