"""Every check of the project, one session each: `nox` runs what CI runs, `nox -l` lists the rest."""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "imports", "tests", "wheel"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

EXACT = ("-c", "constraints.txt")
CODE = ("glue_bench", "tests", "benchmarks", "noxfile.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install(*EXACT, "ruff")
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Strict types, tests included."""
    session.install(*EXACT, "-e", ".[dev]")
    session.run("mypy")


@nox.session
def imports(session: nox.Session) -> None:
    """The walls between the rooms."""
    session.install(*EXACT, "import-linter")
    session.run("lint-imports", env={"PYTHONPATH": "."})


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests."""
    session.install(*EXACT, "-e", ".[sample,test]")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take minutes: the sample sweep and what it must reach, the GPU benchmark at toy size."""
    session.install(*EXACT, "-e", ".[dev]")  # with the benchmark's rivals
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Sweeps under fire: 1,000 kills (or KILLS), eight sweeps at once, a bad run of every kind; most of an hour."""
    session.install(*EXACT, "-e", ".[sample,test]")
    session.run("pytest", "-m", "faults", "-n", "0", "-s", "tests/sweep/test_faults.py", *session.posargs)


@nox.session
def hostile(session: nox.Session) -> None:
    """A thousand hostile trials from a seed: records, plans, leases, YAML, arguments, encoders, rows; half an hour."""
    session.install(*EXACT, "-e", ".[sample,test]")
    session.run("python", "-m", "tests.support.hostile", *session.posargs)


@nox.session
def slurm(session: nox.Session) -> None:
    """Sweeps on a Slurm of this machine alone; installs Debian's packages where it may."""
    session.install(*EXACT, "-e", ".[sample,test]")
    if not shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") and shutil.which("apt-get"):
        packages = ("slurmctld", "slurmd", "slurm-client", "munge")
        for words in (("update",), ("install", "-y", "--no-install-recommends", *packages)):
            session.run("apt-get", *words, external=True, success_codes=[0, 100], silent=True)
    session.run("pytest", "-m", "slurm", "-n", "0", "-s", "-rs", "tests/sweep/test_slurm.py", *session.posargs)


@nox.session
def page(session: nox.Session) -> None:
    """The report's page in headless Chromium, which has to be on PATH or named by CHROMIUM."""
    session.install(*EXACT, "-e", ".[sample,test,page]")
    session.run("pytest", "-m", "page", "-n", "0", "-rs", "tests/report/test_page_browser.py", *session.posargs)


@nox.session
def minimums(session: nox.Session) -> None:
    """The fast tests with the lowest direct versions that pyproject.toml allows."""
    session.install("-c", "constraints-minimum.txt", "-e", ".[sample,test]")
    session.run("pytest", *session.posargs)


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """The built wheel, in a clean environment, run from an empty folder."""
    session.install(*EXACT, "build", "hatchling")
    dist = Path(session.create_tmp()).resolve() / "dist"
    session.run("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), silent=True)
    built = max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install(*EXACT, f"glue-bench[sample] @ {built.as_uri()}")
    elsewhere = Path(session.create_tmp()) / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    session.chdir(elsewhere)
    session.run("glue-bench", "tasks")
    session.run("python", "-m", "glue_bench", "sweep", "preset=smoke")
    session.run("glue-bench", "report", "--format", "markdown")
    session.run("glue-bench", "report", "--format", "html")


@nox.session
def sample(session: nox.Session) -> None:
    """The README's main job: eight tasks offline, timed by the board."""
    session.install(*EXACT, "-e", ".[sample]")
    session.run("glue-bench", "sweep", "preset=sample", *session.posargs)


@nox.session
def agreement(session: nox.Session) -> None:
    """Scores beside transformers.Trainer's on real rows; needs `-- --data FOLDER`; takes hours on two cores."""
    session.install(*EXACT, "-e", ".[dev]")
    session.run("python", "benchmarks/agreement.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed beside other ways, workers against threads, a step's profile; needs `-- --data FOLDER`; two hours."""
    session.install(*EXACT, "-e", ".[dev]")
    words = session.posargs
    if "--data" not in words[:-1]:
        session.error("nox -s bench -- --data FOLDER, which holds cola/, sst2/ and mrpc/")
    data = words[words.index("--data") : words.index("--data") + 2]
    session.run("python", "benchmarks/speed.py", *words)
    session.run("python", "benchmarks/start_up.py", *data)
    session.run("python", "benchmarks/workers.py")
    for encoder, task in (("minilm", "cola"), ("distilroberta-size", "mrpc")):
        session.run("python", "benchmarks/step_profile.py", *data, "--encoder", encoder, "--task", task)


@nox.session
def gpu(session: nox.Session) -> None:
    """Everything there is to measure on a GPU, the tests that need one included."""
    session.install(*EXACT, "-e", ".[dev]")
    session.run("python", "benchmarks/gpu.py", *session.posargs)
