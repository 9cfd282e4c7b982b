# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to podman, from a place where it can start systemd.

As root on a machine with plain cgroup2 that is here.  Each thing that a machine lacks has one remedy:

- hybrid cgroups: crun says "cgroups in hybrid mode not supported", so podman runs in a mount namespace with a
  pure cgroup2 tree.  It is one namespace for all calls, bound to a file, because podman keeps its network
  namespaces mounted in it.
- no controllers in cgroup2, which is so in that namespace: "pids.max: no such file", so no limit on processes.
- no systemd on the machine, or not in that tree: podman makes cgroups and keeps its log itself.
- no CAP_SYS_RESOURCE: "setrlimit: Operation not permitted", so limits no higher than our own, and runc because
  crun raises one in any case.
"""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = Path("/run/mailhosting-testhosts")
NAMESPACE = STATE / "namespaces" / "cgroup2"
CAP_SYS_RESOURCE = 24  # capabilities(7), linux/capability.h


class HostsError(Exception):
    """An error; the user sees its text instead of a traceback."""


def run(command: list[str], *, feed: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run `command` without a terminal and return what it printed; a failure carries its own words."""
    try:
        done = subprocess.run(command, input=feed or "", env=env, text=True, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise HostsError(f"{command[0]} is not installed: run tests/hosts/install") from error
    if done.returncode:
        raise HostsError(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stderr or done.stdout}")
    return done.stdout


def podman(*args: str, feed: str | None = None) -> str:
    """Run podman and return what it printed."""
    return run_beside(["podman", *args], feed=feed)


def run_beside(command: list[str], *, feed: str | None = None) -> str:
    """Run `command` where podman works, which is where its mounts are, and return what it printed."""
    prefix, environment = namespace()
    return run([*prefix, *command], feed=feed, env=environment)


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock `name` against other processes of this machine."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (STATE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def namespace() -> tuple[list[str], dict[str, str]]:
    """What to put before a command, and its environment, so that podman works."""
    if os.geteuid() != 0:
        raise HostsError("needs root: systemd in a container wants a privileged one")
    environment = dict(os.environ)
    hybrid = is_hybrid()
    settings = containers_conf(hybrid)
    if settings:
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        conf = STATE / "containers.conf"
        if not conf.exists() or conf.read_text() != settings:
            conf.write_text(settings)
        environment["CONTAINERS_CONF"] = str(conf)
    if not hybrid:
        return [], environment
    return ["nsenter", f"--mount={pure_cgroup2()}", f"--wdns={Path.cwd()}", "--"], environment


def is_hybrid() -> bool:
    """Whether /sys/fs/cgroup is something else than plain cgroup2."""
    return filesystem(Path("/sys/fs/cgroup")) != "cgroup2fs"


def filesystem(path: Path) -> str:
    """The type of file system that `path` is on, in the words of stat(1)."""
    return run(["stat", "--file-system", "--format=%T", str(path)]).strip()


def containers_conf(hybrid: bool) -> str:
    """The containers.conf(5) this machine needs, or nothing."""
    containers, engine = [], []
    if hybrid or "pids" not in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        containers.append("pids_limit = 0")
    if hybrid or not Path("/run/systemd/system").exists():
        engine += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    if not has_capability(CAP_SYS_RESOURCE):
        limits = {"nofile": (resource.RLIMIT_NOFILE, 65536), "nproc": (resource.RLIMIT_NPROC, 32768)}
        values = [f'"{name}={hard(which, most)}:{hard(which, most)}"' for name, (which, most) in limits.items()]
        containers.append(f"default_ulimits = [{', '.join(values)}]")
        engine.append('runtime = "runc"')
    sections = {"containers": containers, "engine": engine}
    return "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items() if lines)


def has_capability(number: int) -> bool:
    """Whether this process has a capability, by its number."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)


def hard(which: int, most: int) -> int:
    """The hard limit of this process, at most `most`."""
    limit = resource.getrlimit(which)[1]
    return most if limit == resource.RLIM_INFINITY else min(limit, most)


def pure_cgroup2() -> Path:
    """A file that a mount namespace with a pure cgroup2 tree is bound to; made on first use, gone with a reboot."""
    with exclusive("namespace"):
        if NAMESPACE.exists() and filesystem(NAMESPACE) == "nsfs":
            return NAMESPACE
        folder = NAMESPACE.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.path.ismount(folder):
            # A namespace can only be bound where mounts do not propagate.
            run(["mount", "--bind", str(folder), str(folder)])
            run(["mount", "--make-private", str(folder)])
        NAMESPACE.touch()
        remount = "umount --recursive /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        # "slave": later mounts of this machine appear inside, those made inside stay inside.
        run(["unshare", f"--mount={NAMESPACE}", "--propagation=slave", "sh", "-c", remount])
    return NAMESPACE


def close_namespace() -> None:
    """Drop the namespace unless a container runs in it, which shows by its network namespace mounted there."""
    if not NAMESPACE.exists():
        return
    with exclusive("namespace"):
        mounts = run(["nsenter", f"--mount={NAMESPACE}", "cat", "/proc/self/mounts"])
        if not any(line.split()[1].startswith("/run/netns/") for line in mounts.splitlines()):
            run(["umount", "--recursive", str(NAMESPACE.parent)])
            NAMESPACE.unlink()
