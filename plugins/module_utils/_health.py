# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a mail host's health, from inside.

PRIVATE to the collection: it can have breaking changes at any time.

Each check returns (ok, what it saw) and changes nothing.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
#: ClamAV's own databases: packed, or as freshclam leaves them after an update.
_OFFICIAL: Final = frozenset((".cvd", ".cld"))
#: All files with signatures that clamd reads; those with exceptions from signatures are none.
_SIGNATURES: Final = _OFFICIAL | frozenset((".cdb", ".hdb", ".hsb", ".ldb", ".mdb", ".msb", ".ndb", ".yar", ".yara"))
#: Bytes of the header of a CVD or CLD, which is fields separated by colons.
_HEADER_SIZE: Final = 512
#: The field with the build time in seconds since 1970.
_BUILT: Final = 8
_DAY: Final = 86400


class Check(NamedTuple):
    """One line of the report."""

    name: str
    ok: bool
    seen: str

    def as_row(self) -> str:
        return f"{'ok' if self.ok else 'FAIL':<4}  {self.name:<52}  {self.seen}"


def run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of `command`; 127 if the program does not exist."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    return done.returncode, done.stdout.strip()


def services(units: Sequence[str]) -> Check:
    """Every one of `units` is active, and no unit of the host has failed."""
    wrong = [f"{unit} is {state}" for unit in units if (state := run(["systemctl", "is-active", unit])[1]) != "active"]
    failed = run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"])[1].splitlines()
    wrong += [f"{line.split()[0]} failed" for line in failed]
    return Check("services run", not wrong, ", ".join(wrong or units))


def configuration(commands: dict[str, Sequence[str]]) -> list[Check]:
    """Each daemon's own checker accepts the configuration on disk; `commands` by daemon."""
    checks = []
    for daemon, command in commands.items():
        code, output = run(command)
        last = output.splitlines()[-1] if output and code else ""
        checks.append(Check(f"{daemon}: configuration is valid", code == 0, last or "accepted"))
    return checks


def binaries(executables: Sequence[str], proc: Path = _PROC) -> Check:
    """No daemon runs a program file that an upgrade has replaced."""
    stale = []
    for process in proc.glob("[0-9]*"):
        try:
            target = str((process / "exe").readlink())
        except OSError:  # the process ended, or is a kernel thread
            continue
        if target.endswith(" (deleted)") and target.startswith(tuple(executables)):
            stale.append(target.removesuffix(" (deleted)"))
    return Check("running programs are the installed ones", not stale, ", ".join(sorted(set(stale))) or "yes")


def queue(spool: Path, oldest: float, now: float | None = None) -> Check:
    """No mail has been deferred for longer than `oldest` seconds."""
    now = time.time() if now is None else now
    # Postfix sets a deferred mail's mtime to its next attempt; that does not move ctime by itself.
    waiting = [path.stat().st_ctime for path in (spool / "deferred").rglob("*") if path.is_file()]
    late = sum(1 for changed in waiting if now - changed > oldest)
    return Check("queue moves", late == 0, f"{len(waiting)} deferred, {late} of them for over {oldest / 3600:g} h")


def disk(paths: Sequence[str], least: float) -> list[Check]:
    """At least `least` (a share of 1) of the file system of each path is free."""
    checks = []
    for path in paths:
        usage = shutil.disk_usage(path)
        free = usage.free / usage.total
        checks.append(Check(f"room under {path}", free >= least, f"{free:.0%} free, {usage.free >> 20} MiB"))
    return checks


def signatures(folder: Path, most_days: int, now: float | None = None) -> Check:
    """The newest signatures of the virus scanner are at most `most_days` old: of ClamAV's own, if it has any."""
    now = time.time() if now is None else now
    name = "virus signatures are new"
    files = [path for path in folder.glob("*") if path.suffix in _SIGNATURES]
    if not files:
        missing = f"none in {folder} yet: mail to scan is deferred until freshclam has fetched them"
        return Check(name, ok=False, seen=missing)
    own = [path for path in files if path.suffix in _OFFICIAL]
    made, newest = max((_made(path), path.name) for path in own or files)
    days = (now - made) / _DAY
    return Check(name, days <= most_days, f"{newest} is {days:.1f} days old, {most_days} are allowed")


def _made(path: Path) -> float:
    """When signatures were made, in seconds since 1970."""
    if path.suffix in _OFFICIAL:
        with path.open("rb") as file:
            fields = file.read(_HEADER_SIZE).split(b":")
        if len(fields) > _BUILT and fields[_BUILT].strip().isdigit():
            return int(fields[_BUILT])
    return path.stat().st_mtime


def scanner(path: str, patience: float = 10) -> Check:
    """The virus scanner at this socket tells its version within `patience` seconds."""
    try:
        with socket.socket(socket.AF_UNIX) as clamd:
            clamd.settimeout(patience)
            clamd.connect(path)
            clamd.sendall(b"zVERSION\0")
            said = clamd.recv(4096).rstrip(b"\0\n").decode("ascii", "replace")
    except OSError as error:
        return Check("virus scanner answers", ok=False, seen=f"{path}: {error.strerror or error}")
    return Check("virus scanner answers", bool(said), said or f"{path}: no answer")


def journal(units: Sequence[str], since: str, priority: str = "err") -> Check:
    """`units` logged nothing of `priority` or worse since `since` (journalctl's notation)."""
    command = ["journalctl", "--quiet", "--no-pager", f"--since={since}", f"--priority={priority}", "--output=cat"]
    lines = run([*command, *(f"--unit={unit}" for unit in units)])[1].splitlines()
    return Check(f"no errors logged since {since}", not lines, f"{len(lines)}: {lines[-1]}" if lines else "none")


def listeners(expected: Sequence[int], run: Callable[[Sequence[str]], tuple[int, str]] = run) -> Check:
    """Each expected port has a listener."""
    lines = run(["ss", "--listening", "--tcp", "--numeric", "--no-header"])[1].splitlines()
    open_ports = {int(line.split()[3].rpartition(":")[2]) for line in lines}
    missing = sorted(set(expected) - open_ports)
    return Check(
        "ports listen", not missing, f"nobody listens on {missing}" if missing else ", ".join(map(str, expected))
    )
