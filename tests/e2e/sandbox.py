# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries acts in a unit's sandbox: all acts of a unit at once, outside of it and inside.

A failure inside proves nothing if the unit is down, a file is missing or a command has a typo.  So each act, or its
harmless part, must succeed outside, and an innocent act must succeed inside.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

#: Errors by which a sandbox forbids an act.
REFUSALS: Final = (
    *("Read-only", "denied", "not permitted", "No such file", "unreachable", "refused", "not supported"),
    *("Directory nonexistent", "InsufficientPrivilege"),  # the first is sh's for "No such file"
)
#: A copy of another unit, which tries acts in its place.
TRIED: Final = "sandbox-tried.service"
#: The script that runs in the sandbox, and its output.
_SCRIPT, _SAID = "/run/e2e-script", "/run/e2e-said"
#: Sections of TRIED: it runs the acts alone, once, without the other unit's conditions and preparations.
_ONCE: Final = f"""
[Unit]
ConditionPathExists=
[Service]
Type=oneshot
Restart=no
TimeoutStartSec=60
RuntimeDirectoryPreserve=yes
StandardInput=null
StandardOutput=truncate:{_SAID}
StandardError=journal
ExecStartPre=
ExecStartPost=
ExecReload=
ExecStop=
ExecStopPost=
ExecStart=
ExecStart=/bin/sh {_SCRIPT}
BindReadOnlyPaths={_SCRIPT}
"""


class Act(NamedTuple):
    """Shell commands: the forbidden one, and its variant for outside; empty: the same."""

    command: str
    outside: str = ""
    code: str = ""  # the forbidden one in Python, for sandboxes without any command


def writing(path: str) -> Act:
    """Appends a line to `path`, a file in a folder that exists."""
    return Act(f"echo x >> {path}", f"test -d {PurePosixPath(path).parent}", f'open("{path}", "a").write("x")')


class Answer(NamedTuple):
    """The exit code of an act, and its standard error."""

    code: int
    said: str


#: systemd's properties of the sandbox of a program's unit; of the allowed system calls only those of CALLS.
PROGRAM: Final = {
    "UMask": "0077",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateNetwork": "yes",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "IPAddressDeny": "0.0.0.0/0 ::/0",
    "KeyringMode": "private",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "RemoveIPC": "yes",
    "RestrictAddressFamilies": "AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "read",
    "ReadWritePaths": "",
    "InaccessiblePaths": "-/var/vmail -/etc/dovecot -/etc/ssl/private -/var/lib/postgresql -/var/lib/valkey",
}
CALLS: Final = frozenset(("chown", "mount", "read", "sched_setscheduler", "setresuid"))

#: Tries named acts in the sandbox of a unit.
Way = Callable[[Any, str, Mapping[str, Act]], dict[str, Answer]]


@dataclass(frozen=True)
class Sandbox:
    """Acts that a unit must not be able to do, and one that it must be."""

    forbidden: Mapping[str, Act]
    allowed: Act
    way: Way
    #: Outside is the unit's user, not root: only the sandbox forbids the acts.
    as_its_user: bool = False
    #: A forbidden act ends with one of REFUSALS; otherwise it may be killed, or find nothing.
    says_why: bool = True
    #: Properties that differ from PROGRAM, words in any order; None: do not compare any.
    excepted: Mapping[str, str] | None = None


class Tried(NamedTuple):
    """The answers to all acts of a unit."""

    outside: dict[str, Answer]
    inside: dict[str, Answer]


_ALLOWED: Final = "what is allowed"


def tried(host: Any, unit: str, sandbox: Sandbox) -> Tried:
    """Try all of a unit's acts."""
    acts = {**sandbox.forbidden, _ALLOWED: sandbox.allowed}
    its_user = f"$(systemctl show --value --property=User {unit} | grep . || echo root)"
    run = f"systemd-run --quiet --wait --pipe --uid={its_user} /bin/sh" if sandbox.as_its_user else "sh"
    _write(host, _SCRIPT, _script({name: act.outside or act.command for name, act in acts.items()}))
    return Tried(_answers(host.check_output(f"{run} {_SCRIPT}")), sandbox.way(host, unit, acts))


def refused(sandbox: Sandbox, answers: Tried, name: str) -> None:
    """Assert that an act failed inside, and only there."""
    assert answers.outside[name].code == 0, answers.outside[name].said
    assert answers.inside[_ALLOWED].code == 0, answers.inside[_ALLOWED].said
    inside = answers.inside[name]
    assert inside.code != 0
    assert not sandbox.says_why or any(refusal in inside.said for refusal in REFUSALS), inside.said


def in_its_place(host: Any, unit: str, acts: Mapping[str, Act]) -> dict[str, Answer]:
    """In a unit with all settings of `unit`, in place of its own work."""
    file = f"/run/systemd/system/{TRIED}"
    dynamic = host.check_output(f"systemctl show --value --property=DynamicUser {unit}") == "yes"
    user = f"User={unit.partition('.')[0]}\n" if dynamic else ""
    _write(host, _SCRIPT, _script({name: act.command for name, act in acts.items()}))
    try:
        _write(host, file, host.check_output(f"systemctl cat {unit}") + _ONCE + user)
        host.check_output(f"systemctl daemon-reload && systemctl start {TRIED}")
        return _answers(host.check_output(f"cat {_SAID}"))
    finally:
        host.check_output(f"rm -f {file} {_SAID}; systemctl reset-failed {TRIED}; systemctl daemon-reload")


def in_its_namespaces(namespaces: str = "--mount --net --ipc", by: str = "") -> Way:
    """Inside the namespaces of the unit's main process, as root with all capabilities, or by the command `by`."""

    def way(host: Any, unit: str, acts: Mapping[str, Act]) -> dict[str, Answer]:
        _write(host, _SCRIPT, _script({name: act.command for name, act in acts.items()}))
        enter = f"nsenter --target {_process(host, unit)} {namespaces} -- {by}"
        return _answers(host.check_output(f"{enter} sh -s <{_SCRIPT}"))

    return way


def by_code(host: Any, unit: str, acts: Mapping[str, Act]) -> dict[str, Answer]:
    """Likewise where no command can run: a process enters and does the acts itself."""
    program = f"""
import os, socket
os.setns(os.pidfd_open({_process(host, unit)}), os.CLONE_NEWNS | os.CLONE_NEWNET | os.CLONE_NEWIPC)
for name, code in {[(name, act.code) for name, act in acts.items()]}:
    try:
        exec(code)
        print(0, name, "", sep="\t")
    except Exception as error:
        print(1, name, error, sep="\t")
"""
    return _answers(host.check_output(f"python3 - <<'END'\n{program}END"))


def shown(host: Any, unit: str) -> dict[str, set[str]]:
    """The properties of a unit's sandbox in systemd: words by the names that PROGRAM has."""
    found = host.check_output(f"systemctl show --property=LoadState,{','.join(PROGRAM)} {unit}")
    shows = {name: set(value.split()) for name, _is, value in (line.partition("=") for line in found.splitlines())}
    assert shows.pop("LoadState") == {"loaded"}, unit
    return {**shows, "SystemCallFilter": shows["SystemCallFilter"] & CALLS}


def expected(sandbox: Sandbox) -> dict[str, set[str]]:
    """The expected properties of a program's unit."""
    assert sandbox.excepted is not None
    return {name: set(value.split()) for name, value in {**PROGRAM, **sandbox.excepted}.items()}


def is_strict(host: Any, unit: str, most: float = 2.0) -> None:
    """Assert that systemd's exposure of `unit` is at most `most`, of 10."""
    verdict = host.run(f"systemd-analyze security --no-pager {unit}").stdout.splitlines()[-1]
    assert float(verdict.rpartition(": ")[2].split()[0]) <= most, verdict


def _process(host: Any, unit: str) -> str:
    process = str(host.check_output(f"systemctl show --value --property=MainPID {unit}"))
    assert process != "0", f"{unit} does not run"
    return process


def _script(commands: Mapping[str, str]) -> str:
    """A shell script that prints how each of its commands ended: exit code, name and standard error."""
    lines = [
        f"said=$(sh -c {shlex.quote(command)} 2>&1 >/dev/null); printf '%s\\t%s\\t' $? {shlex.quote(name)}; echo $said"
        for name, command in commands.items()
    ]
    return "\n".join(["set -f", *lines])


def _answers(lines: str) -> dict[str, Answer]:
    """The answers in such a script's output."""
    parts = (line.split("\t", 2) for line in lines.splitlines())
    return {name: Answer(int(code), said) for code, name, said in parts}


def _write(host: Any, path: str, text: str) -> None:
    host.check_output(f"cat >{path} <<'END'\n{text}\nEND")
