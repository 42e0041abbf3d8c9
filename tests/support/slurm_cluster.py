"""Run Slurm on this machine only, so that tests submit real jobs. Knows Slurm and munge; knows no submitit.

    if reason := why_not():
        pytest.skip(reason)
    with one_machine_slurm(tmp_path / "slurm") as cluster:
        subprocess.run(["sbatch", ...], env=os.environ | cluster.environment)  # or monkeypatch.setenv each of them

Partitions: `spare`, the default, whose jobs are requeued when a job of `urgent` needs their CPUs. The signal of
`--signal` then comes first; the job is killed GRACE_S later. There is no accounting database: sacct always fails.
What to install on Debian: slurmctld slurmd slurm-client munge. Checked with Slurm 22.05 on Debian 12.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 20
REQUEUE_WAIT_S = 5
START_S = 30
STOP_S = 15
DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
# Debian keeps daemons where only root's PATH looks.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits; 120 s by default, and less than 5 is refused.
AuthInfo=socket={short}/munge.socket,cred_expire={requeue_wait}
StateSaveLocation={folder}/state
SlurmdSpoolDir={short}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# No cgroups: in a container they are often read-only.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# CPUs as written below, whatever the machine has.
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
CompleteWait=0
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=spare Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace} MaxTime=60
PartitionName=urgent Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=60
"""


@dataclass(frozen=True)
class Cluster:
    """A Slurm that runs. `environment` is what its commands, and programs that call them, need to find it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """Return what a command of Slurm prints.

        Raises:
            RuntimeError: it failed; the text has what it wrote to stderr.
        """
        done = subprocess.run(
            [_find(command[0]), *command[1:]], env=os.environ | self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} left with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def state(self, job_id: str) -> str:
        """Return the state of a job, or of one task of an array (`12_0`), in Slurm's words: PENDING, RUNNING, ..."""
        return self.field(job_id, "JobState")

    def field(self, job_id: str, name: str) -> str:
        """Return one field of `scontrol show job`, "" without it; a job stays known for an hour after its end."""
        shown = self.run("scontrol", "show", "job", "--oneliner", job_id)
        return next((word.partition("=")[2] for word in shown.split() if word.startswith(f"{name}=")), "")


def why_not() -> str | None:
    """Return why no Slurm can be started here, for pytest.skip."""
    if sys.platform != "linux":
        return f"Slurm's daemons run on Linux, not on {sys.platform}"
    missing = [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=SEARCH) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@contextlib.contextmanager
def one_machine_slurm(folder: Path, *, cpus: int = 2, grace_s: int = GRACE_S) -> Iterator[Cluster]:
    """Start munge and Slurm with state, logs and configuration in `folder`; no process of them remains afterwards.

    Args:
        folder: made here; may be one of pytest's.
        cpus: how many jobs of one CPU run at once, however many the machine has.
        grace_s: seconds a preempted job has between its signal and its end.

    Raises:
        RuntimeError: a daemon did not come up; the text has the end of its log.
    """
    (folder / "state").mkdir(parents=True)
    conf = folder / "slurm.conf"
    cluster = Cluster(folder, {"SLURM_CONF": str(conf)})
    # Sockets live in `short`: their paths may have 107 characters at most, and pytest's folders are deep.
    with _short_folder() as short, contextlib.ExitStack() as stack:
        conf.write_text(_configuration(folder, Path(short), cpus, grace_s))
        stack.callback(_kill_leftovers, conf)
        stack.enter_context(_munged(cluster, Path(short)))
        stack.enter_context(_daemon(cluster, "slurmctld", ["-D"], lambda: _succeeds(cluster, "scontrol", "ping")))
        stack.enter_context(_daemon(cluster, "slurmd", ["-D"], lambda: "idle" in cluster.run("sinfo", "-h", "-o%T")))
        stack.callback(_end_jobs, cluster)
        yield cluster


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed after use, with a path short enough for the name of a socket."""
    return tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True)


def _configuration(folder: Path, short: Path, cpus: int, grace_s: int) -> str:
    """Return the text of slurm.conf."""
    controller_port, node_port = _free_ports(2)
    return CONF.format(
        host=socket.gethostname().partition(".")[0],
        user=pwd.getpwuid(os.geteuid()).pw_name,
        folder=folder,
        short=short,
        controller_port=controller_port,
        node_port=node_port,
        cpus=cpus,
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        grace=grace_s,
        requeue_wait=REQUEUE_WAIT_S,
    )


def _free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _find(name: str) -> str:
    """Return the full path of a program, which why_not has found."""
    return shutil.which(name, path=SEARCH) or name


@contextlib.contextmanager
def _munged(cluster: Cluster, short: Path) -> Iterator[None]:
    """Run a munged with a new key, as the user of this process."""
    key = cluster.folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = {
        "socket": short / "munge.socket",
        "key-file": key,
        "pid-file": cluster.folder / "munged.pid",
        "seed-file": cluster.folder / "munged.seed",
        "log-file": cluster.folder / "munged.log",
    }
    # --force: pytest's folders are closed to other users, about which munged complains.
    options = ["--foreground", "--force", *(f"--{name}={path}" for name, path in files.items())]
    with _daemon(cluster, "munged", options, files["socket"].exists):
        yield


@contextlib.contextmanager
def _daemon(cluster: Cluster, name: str, options: list[str], ready: Callable[[], bool]) -> Iterator[None]:
    """Run a daemon in the foreground, as a child of this process; inside it is ready.

    Raises:
        RuntimeError: it died or was not ready within START_S.
    """
    with (cluster.folder / f"{name}.out").open("wb") as out:
        child = subprocess.Popen(
            [_find(name), *options],
            env=os.environ | cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C in pytest is for pytest, which then stops them in order
        )
        try:
            give_up = time.monotonic() + START_S
            while not ready():
                if child.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"{name} did not start:\n{_tail(cluster.folder, name)}")
                time.sleep(0.05)
            yield
        finally:
            child.terminate()
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _tail(folder: Path, name: str) -> str:
    """Return the end of what a daemon said."""
    return (folder / f"{name}.out").read_text(errors="replace")[-2000:]


def _succeeds(cluster: Cluster, *command: str) -> bool:
    """Return whether a command of Slurm leaves with 0."""
    try:
        cluster.run(*command)
    except RuntimeError:
        return False
    return True


def _end_jobs(cluster: Cluster) -> None:
    """Kill all jobs and wait a little: Slurm finds their processes better than _kill_leftovers."""
    with contextlib.suppress(RuntimeError):
        for partition in ("spare", "urgent"):
            cluster.run("scancel", "--quiet", f"--partition={partition}", "--state=PENDING")
            cluster.run("scancel", "--quiet", f"--partition={partition}", "--signal=KILL", "--full")
        give_up = time.monotonic() + STOP_S
        while cluster.run("squeue", "--noheader") and time.monotonic() < give_up:
            time.sleep(0.1)


def _kill_leftovers(conf: Path) -> None:
    """Kill what still runs with this SLURM_CONF: slurmstepd and jobs are no children of ours."""
    mark = f"SLURM_CONF={conf}".encode()
    give_up = time.monotonic() + STOP_S
    while (found := _processes_with(mark)) and time.monotonic() < give_up:
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


def _processes_with(mark: bytes) -> list[int]:
    """Return the other processes, zombies left out, that were started with this in their environment."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(proc.name) != os.getpid() and mark in (proc / "environ").read_bytes().split(b"\0"):
                found.append(int(proc.name))
    return found
