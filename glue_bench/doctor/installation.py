"""Python and the packages, against the ranges in this package's own metadata. Imports none of them."""

import platform
import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from glue_bench.doctor.findings import NOTE, OK, PROBLEM, Finding

_PACKAGE = "glue-bench"
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
# The extras that runs may need, and for what.
_EXTRAS = {"sample": "encoder=minilm", "slurm": "executor=slurm"}
_SHOWN = ("torch", "transformers", "tokenizers", "datasets", "huggingface-hub", "numpy")


def examine_installation() -> Iterator[Finding]:
    """Findings on Python, glue-bench, what it needs and what it can use."""
    try:
        facts = metadata.metadata(_PACKAGE)
    except metadata.PackageNotFoundError:
        yield Finding(
            name="packages",
            state=NOTE,
            found="glue-bench runs from a folder and is not installed: versions cannot be checked",
            advice="pip install -e . in its folder",
        )
        return
    needed = SpecifierSet(facts["Requires-Python"] or "")
    python = platform.python_version()
    fits = needed.contains(Version(python), prereleases=True)
    yield Finding(
        name="Python",
        state=OK if fits else NOTE,
        found=python if fits else f"{python}; glue-bench {facts['Version']} is tested with {needed}",
        advice="" if fits else f"a virtual environment with Python {needed}",
    )
    requirements = [Requirement(text) for text in metadata.requires(_PACKAGE) or []]
    plain = [requirement for requirement in requirements if _extra_of(requirement) is None]
    yield from _examine_needed(plain, facts["Version"])
    extras = _examine_extras(requirements)
    yield from [extras] if extras else []


def _examine_needed(requirements: list[Requirement], own: str) -> Iterator[Finding]:
    """One finding for all that are as they should be, and one for each that is not."""
    faults = [fault for requirement in requirements if (fault := _check(requirement))]
    good = {requirement.name for requirement in requirements} - {fault.name for fault in faults}
    shown = [f"{name} {metadata.version(name)}" for name in _SHOWN if name in good]
    more = len(good) - len(shown)
    listed = ", ".join([f"glue-bench {own}", *shown, *([f"{more} more as needed"] if more else [])])
    yield Finding(name="packages", state=OK, found=listed)
    yield from faults


def _check(requirement: Requirement) -> Finding | None:
    found = _version_of(requirement.name)
    if found is not None and requirement.specifier.contains(Version(found), prereleases=True):
        return None
    wanted = f"{requirement.name}{requirement.specifier}"
    if found is None:
        text, state = f"not installed; glue-bench needs {requirement.specifier}", PROBLEM
    else:
        text, state = f"{found}; glue-bench is tested with {requirement.specifier}", NOTE
    return Finding(name=requirement.name, state=state, found=text, advice=f"pip install '{wanted}'")


def _examine_extras(requirements: list[Requirement]) -> Finding | None:
    """What is installed of the extras; a sweep that needs one that is not is told so elsewhere."""
    parts, advice = list[str](), list[str]()
    for extra, purpose in _EXTRAS.items():
        mine = [requirement for requirement in requirements if _extra_of(requirement) == extra]
        if not mine:  # an editable installation whose metadata is older than the code
            continue
        faults = [fault for requirement in mine if (fault := _check(requirement))]
        parts.append(
            f"{extra}: {faults[0].name} {faults[0].found.partition(';')[0]}, only needed for {purpose}"
            if faults
            else f"{extra}: {', '.join(f'{each.name} {_version_of(each.name)}' for each in mine)}"
        )
        advice += [extra] if faults else []
    if not parts:
        return None
    return Finding(
        name="extras",
        state=OK,
        found="; ".join(parts),
        advice=f"if you want them: pip install 'glue-bench[{','.join(advice)}]'" if advice else "",
    )


def _extra_of(requirement: Requirement) -> str | None:
    found = _EXTRA.search(str(requirement.marker or ""))
    return found[1] if found else None


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
