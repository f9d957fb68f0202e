"""Which launch a process belongs to: one start of a job, which may span processes and hosts.

Readers tell attempts apart by launches: when a job is restarted, its ranks must agree on a new one without talking to
each other. So it is taken from what their launcher gave to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

VARIABLE = "RUNLAKE_LAUNCH"
"""The launch, set by hand, or the launch and the run that a parent process hands to its children."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Handed(NamedTuple):
        """The run of a parent process."""

        launch: str
        id: str
        project: str
        store: str

else:
    from collections import namedtuple

    Handed = namedtuple("Handed", "launch id project store")


def encode(handed: Handed) -> str:
    """The value of `$RUNLAKE_LAUNCH` for child processes."""
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in handed)


def handed(environ: Mapping[str, str]) -> Handed | None:
    """The run that a parent process handed down, if one did."""
    parts = environ.get(VARIABLE, "").split(":")
    if len(parts) != 4:
        return None
    return Handed(*(part.replace("%3A", ":").replace("%25", "%") for part in parts))


def find(environ: Mapping[str, str], id: str | None, project: str, agent: Callable[[], str]) -> str | None:
    """The launch that a run with this id belongs to; `None` where `init` is a launch of its own.

    Args:
        environ: the environment.
        id: the id of the run, where it is given.
        project: its project.
        agent: names the parent process as no other process on any host and boot is named.
    """
    parent = handed(environ)
    if parent is None and environ.get(VARIABLE):
        return environ[VARIABLE]
    if elastic := environ.get("TORCHELASTIC_RUN_ID"):
        restart = environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        # `torchrun --standalone` calls every job "none".
        return f"torchelastic-{agent() if elastic == 'none' else elastic}-{restart}"
    if (job := environ.get("SLURM_JOB_ID")) and (step := environ.get("SLURM_STEP_ID")):
        return f"slurm-{job}.{step}-{environ.get('SLURM_RESTART_COUNT', '0')}"
    # Children share the launch of their parent, except where they continue a run of their own.
    if parent is not None and (id is None or (id, project) == (parent.id, parent.project)):
        return parent.launch
    return None


def agent() -> str:
    """Names the parent process: boot, process id, start time."""
    import os

    parent = os.getppid()
    return f"{_boot()}-{parent}-{_start_time(parent)}"


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        import os

        return os.uname().nodename


def _start_time(process: int) -> str:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program stands in parentheses and may hold any character; field 22 is the start time.
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
