"""What pyproject.toml promises, checked against the files next to it."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {req.name.lower().replace("_", "-"): next(iter(req.specifier)).version for req in requirements}


def direct_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(line) for line in [*project["dependencies"], *extras["sample"], *extras["test"]]]


def test_the_minimum_constraints_are_the_lower_bounds() -> None:
    lowest = pins("constraints-minimum.txt")
    bounds = {
        req.name: next(spec.version for spec in req.specifier if spec.operator == ">=") for req in direct_requirements()
    }
    assert bounds.keys() == lowest.keys()
    assert {name: Version(bound) for name, bound in bounds.items()} == {
        name: Version(pin) for name, pin in lowest.items()
    }


def test_the_exact_constraints_lie_within_the_ranges() -> None:
    exact = pins("constraints.txt")
    for requirement in direct_requirements():
        assert exact[requirement.name] in requirement.specifier, requirement
