"""Where a record was made: library versions, the commit, the processor."""

import contextlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = "glue-bench torch transformers tokenizers datasets evaluate scikit-learn scipy numpy hydra-core"


def library_versions() -> dict[str, str]:
    """The versions that a score may depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES.split():
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def processor_name() -> str:
    """The processor as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def checkout_commit() -> str | None:
    """The commit of the checkout that this package runs from, `-dirty` with local changes; None for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
