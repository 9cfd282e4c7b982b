# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an intruder inside a unit could do: acts tried there that its sandbox must forbid.

A failure proves nothing if the unit is down, the file is not there or the command is misspelt. So something innocent
has to succeed inside, and outside the act itself, or as much of it as does no harm.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

#: What a sandbox says.
REFUSALS: Final = ("Read-only", "denied", "not permitted", "No such file", "unreachable", "refused")
_NAMESPACES: Final = "os.CLONE_NEWNS | os.CLONE_NEWNET | os.CLONE_NEWIPC"
#: The unit in which the acts of `in_place_of` are tried.
TRIED: Final = "sandbox-tried.service"
#: What `outside` and `inside` run, and what it says.
_SCRIPT, _SAID = "/run/e2e-script", "/run/e2e-said"


class Act(NamedTuple):
    """Two commands, as a shell takes them: the forbidden one, and one that root can do outside."""

    command: str
    outside: str
    code: str = ""  # the forbidden one in Python, for where no command can be run


def harmless(command: str, code: str = "") -> Act:
    """Something that root may do outside."""
    return Act(command, command, code)


def writing(path: str) -> Act:
    """Adding a line to `path`, a file that may be new, in a folder that is there."""
    return Act(f"sh -c 'echo x >> {path}'", f"test -d {PurePosixPath(path).parent}", f'open("{path}", "a").write("x")')


#: What no daemon may do.
EVERYWHERE: Final = {
    "write a system file": writing("/usr/bin/intruder"),
    "write the configuration": writing("/etc/passwd"),
    "write root's files": writing("/root/intruder"),
    "read root's files": harmless("cat /root/.profile", 'open("/root/.profile").read()'),
    "make a unit": writing("/etc/systemd/system/intruder.service"),
}
_CONNECT: Final = 'import socket; socket.create_connection(("127.0.0.1", 25), 2)'
REACHING_A_PORT: Final = harmless(f"python3 -c '{_CONNECT}'", _CONNECT)
OPENING_A_SOCKET: Final = harmless("python3 -c 'import socket; socket.socket(socket.AF_INET)'")


def refuses(host: Any, unit: str, act: Act, namespaces: str = "--mount --net --ipc", by: str = "") -> None:
    """Fails unless `act` is refused inside the namespaces of a running unit's main process, and there only.

    It is done as root with all capabilities, unless `namespaces` says otherwise or `by`, a command that runs another.
    """
    process = host.check_output(f"systemctl show --value --property=MainPID {unit}")
    assert process != "0", f"{unit} does not run"
    enter = f"nsenter --target {process} {namespaces} -- {by} "
    host.check_output(act.outside)
    host.check_output(f"{enter} sh -c 'test -e /proc/self && echo x >> /dev/null'")
    tried = host.run(enter + act.command)
    assert tried.rc != 0, tried.stdout
    assert any(refusal in tried.stderr for refusal in REFUSALS), tried.stderr


def refuses_to_code(host: Any, unit: str, act: Act) -> None:
    """The same for a unit whose sandbox lets no command be run: a process goes inside and does the act itself."""
    process = host.check_output(f"systemctl show --value --property=MainPID {unit}")
    assert process != "0", f"{unit} does not run"
    enter = f"import os, socket; os.setns(os.pidfd_open({process}), {_NAMESPACES})"
    host.check_output(act.outside)
    host.check_output(f'python3 -c \'{enter}; open("/dev/null", "a").write("x")\'')
    tried = host.run(f"python3 -c '{enter}; {act.code}'")
    assert tried.rc != 0, tried.stdout
    assert any(refusal in tried.stderr for refusal in REFUSALS), tried.stderr


@contextlib.contextmanager
def in_place_of(host: Any, unit: str) -> Iterator[Callable[[str], bool]]:
    """Runs commands as a unit with all the settings of `unit` would run its own: whether each succeeded."""
    file = f"/run/systemd/system/{TRIED}"
    once = "[Service]\\nType=oneshot\\nTimeoutStartSec=20\\nRestart=no\\nStandardInput=null\\nStandardOutput=journal\\n"
    host.check_output(f"(systemctl cat {unit} && printf '{once}') >{file}")

    def succeeds(command: str) -> bool:
        # For systemd, these signs would be more than that.
        assert not set('$%"\\') & set(command)
        drop_in = f'[Service]\nExecStart=\nExecStart=/bin/sh -c "{command}"'
        write = f"mkdir -p {file}.d && cat >{file}.d/command.conf <<'END'\n{drop_in}\nEND\n"
        tried = host.run(f"{write} systemctl daemon-reload && systemctl start {TRIED}")
        assert tried.rc == 0 or "journalctl" in tried.stderr, tried.stderr
        return bool(tried.rc == 0)

    try:
        assert succeeds("true")
        yield succeeds
    finally:
        host.check_output(f"rm -r {file} {file}.d; systemctl reset-failed {TRIED}; systemctl daemon-reload")


def refuses_in_place_of(host: Any, succeeds: Callable[[str], bool], act: Act) -> None:
    """Fails unless `act` is refused where `in_place_of` runs commands, and there only."""
    host.check_output(act.outside)
    assert not succeeds(act.command)


def is_strict(host: Any, unit: str, most: float = 2.0) -> None:
    """Fails unless systemd finds `unit` no more exposed than that, of 10."""
    verdict = host.run(f"systemd-analyze security --no-pager {unit}").stdout.splitlines()[-1]
    assert float(verdict.rpartition(": ")[2].split()[0]) <= most, verdict


def outside(host: Any, unit: str, acts: Mapping[str, str]) -> list[str]:
    """Which acts succeed as the unit's user without its sandbox; of the others, failing inside says nothing."""
    _write(host, _SCRIPT, _script(acts))
    user = host.check_output(f"systemctl show --value --property=User {unit}") or "root"
    return list(host.check_output(f"systemd-run --quiet --wait --pipe --uid={user} /bin/sh {_SCRIPT}").splitlines())


def inside(host: Any, unit: str, acts: Mapping[str, str], verb: str = "start") -> list[str]:
    """Which acts succeed in place of what the unit runs at `verb`, start or reload; a reload stops nothing."""
    folder, key = Path(f"/run/systemd/system/{unit}.d"), f"Exec{verb.capitalize()}"
    _write(host, _SCRIPT, _script(acts))
    try:
        host.check_output(f"mkdir -p {folder}")
        _write(
            host,
            folder / "e2e.conf",
            f"[Service]\nStandardOutput=truncate:{_SAID}\nStandardError=null\n{key}=\n{key}=/bin/sh {_SCRIPT}",
        )
        host.check_output(f"systemctl daemon-reload && systemctl {verb} {unit}")
        return list(host.check_output(f"cat {_SAID}").splitlines())
    finally:
        host.check_output(f"rm -rf {folder} {_SAID} && systemctl daemon-reload")


def _script(acts: Mapping[str, str]) -> str:
    """A shell script that says which of its acts succeeded."""
    return "\n".join(f"({act}) >/dev/null 2>&1 && echo {shlex.quote(name)}" for name, act in acts.items()) + "\ntrue"


def _write(host: Any, path: object, text: str) -> None:
    host.check_output(f"cat >{path} <<'END'\n{text}\nEND")
