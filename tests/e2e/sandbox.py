# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How acts are tried in a unit's sandbox: all of a unit at once, outside of it and inside.

A failure inside proves nothing if the unit is down, the file is not there or the command is misspelt. So each act has
to succeed outside, or as much of it as does no harm, and something innocent has to succeed inside.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

#: What a sandbox says.
REFUSALS: Final = (
    *("Read-only", "denied", "not permitted", "No such file", "unreachable", "refused", "not supported"),
    "InsufficientPrivilege",
)
#: The unit that is like another and tries acts in its place.
TRIED: Final = "sandbox-tried.service"
#: What is run in a sandbox, and what it says there.
_SCRIPT, _SAID = "/run/e2e-script", "/run/e2e-said"
#: Sections of TRIED: the acts are all that is run, once; nothing of the other unit's is prepared or taken away.
_ONCE: Final = f"""
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
    """Commands, as a shell takes them: the forbidden one, and what can be done outside; empty: the same."""

    command: str
    outside: str = ""
    code: str = ""  # the forbidden one in Python, for where no command can be run


def writing(path: str) -> Act:
    """Adding a line to `path`, a file that may be new, in a folder that is there."""
    return Act(f"echo x >> {path}", f"test -d {PurePosixPath(path).parent}", f'open("{path}", "a").write("x")')


class Answer(NamedTuple):
    """How an act ended, and what it said to standard error."""

    code: int
    said: str


#: What `systemctl show` says of the sandbox of a program's unit; of the system calls it may do those of CALLS.
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

#: Tries commands by name in the sandbox of a unit.
Way = Callable[[Any, str, Mapping[str, Act]], dict[str, Answer]]


@dataclass(frozen=True)
class Sandbox:
    """What a unit must not be able to do, and something that it must be."""

    forbidden: Mapping[str, Act]
    allowed: Act
    way: Way
    #: Outside is the unit's user, not root: nothing but the sandbox forbids it.
    as_its_user: bool = False
    #: An act ends with one of REFUSALS; elsewhere some are killed, or find nothing.
    says_why: bool = True
    #: What systemd shows of the unit where it is not as PROGRAM, words in any order; None: none of that is compared.
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
    """Fails unless an act was refused inside, and there only."""
    assert answers.outside[name].code == 0, answers.outside[name].said
    assert answers.inside[_ALLOWED].code == 0, answers.inside[_ALLOWED].said
    inside = answers.inside[name]
    assert inside.code != 0
    assert not sandbox.says_why or any(refusal in inside.said for refusal in REFUSALS), inside.said


def in_its_place(host: Any, unit: str, acts: Mapping[str, Act]) -> dict[str, Answer]:
    """As a unit with all the settings of `unit` would do its own work."""
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
    """Inside the namespaces of the unit's main process, as root with all capabilities, or `by` what takes some away."""

    def way(host: Any, unit: str, acts: Mapping[str, Act]) -> dict[str, Answer]:
        _write(host, _SCRIPT, _script({name: act.command for name, act in acts.items()}))
        enter = f"nsenter --target {_process(host, unit)} {namespaces} -- {by}"
        return _answers(host.check_output(f"{enter} sh -s <{_SCRIPT}"))

    return way


def by_code(host: Any, unit: str, acts: Mapping[str, Act]) -> dict[str, Answer]:
    """The same where no command can be run: a process goes inside and does the acts itself."""
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
    """What systemd shows of a unit's sandbox: words by the names that PROGRAM has."""
    found = host.check_output(f"systemctl show --property=LoadState,{','.join(PROGRAM)} {unit}")
    shows = {name: set(value.split()) for name, _is, value in (line.partition("=") for line in found.splitlines())}
    assert shows.pop("LoadState") == {"loaded"}, unit
    return {**shows, "SystemCallFilter": shows["SystemCallFilter"] & CALLS}


def expected(sandbox: Sandbox) -> dict[str, set[str]]:
    """What is to be shown of a program's unit."""
    assert sandbox.excepted is not None
    return {name: set(value.split()) for name, value in {**PROGRAM, **sandbox.excepted}.items()}


def is_strict(host: Any, unit: str, most: float = 2.0) -> None:
    """Fails unless systemd finds `unit` no more exposed than that, of 10."""
    verdict = host.run(f"systemd-analyze security --no-pager {unit}").stdout.splitlines()[-1]
    assert float(verdict.rpartition(": ")[2].split()[0]) <= most, verdict


def _process(host: Any, unit: str) -> str:
    process = str(host.check_output(f"systemctl show --value --property=MainPID {unit}"))
    assert process != "0", f"{unit} does not run"
    return process


def _script(commands: Mapping[str, str]) -> str:
    """A shell script that says how each of its commands ended: the code, the name and what was said."""
    lines = [
        f"said=$(sh -c {shlex.quote(command)} 2>&1 >/dev/null); printf '%s\\t%s\\t' $? {shlex.quote(name)}; echo $said"
        for name, command in commands.items()
    ]
    return "\n".join(["set -f", *lines])


def _answers(lines: str) -> dict[str, Answer]:
    """What such a script has said."""
    parts = (line.split("\t", 2) for line in lines.splitlines())
    return {name: Answer(int(code), said) for code, name, said in parts}


def _write(host: Any, path: str, text: str) -> None:
    host.check_output(f"cat >{path} <<'END'\n{text}\nEND")
