# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and sockets that systemd passes to a program, and messages of a program to systemd."""

from __future__ import annotations

import os
import socket
from typing import Final

#: The first file descriptor that systemd passes (sd_listen_fds(3)).
_FIRST: Final = 3


def passed() -> list[tuple[str, int]]:
    """Names and file descriptors that systemd opened for this process, in its order."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    # systemd also names a connection that is standard input, before the others, but does not count it.
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")[-count:] if count else []
    return list(zip(names, range(_FIRST, _FIRST + len(names)), strict=True))


def passed_file(name: str) -> int | None:
    """The file descriptor with this name."""
    return dict(passed()).get(name)


def passed_text(name: str) -> str:
    """The text of the file that systemd opened as `name` (OpenFile=); empty without one.  It can be read once."""
    number = passed_file(name)
    if number is None:
        return ""
    with os.fdopen(number, encoding="utf-8") as file:
        return file.read()


def notify(state: bytes, *descriptors: int) -> None:
    """Send a message of sd_notify(3), with file descriptors to keep.  Without systemd this does nothing."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        socket.send_fds(line, [state], descriptors)


def ready() -> None:
    """Tell systemd that the program can answer (Type=notify)."""
    notify(b"READY=1")
