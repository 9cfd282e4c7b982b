# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service on the sockets that systemd hands over; settings come from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

# Run by its path: the folder above is where the package is.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mailhosting_policy import protocol
from mailhosting_policy.logins import Logins
from mailhosting_policy.service import Service
from mailhosting_policy.sources import Directory, Down, Valkey

#: The first file descriptor of sd_listen_fds(3).
LISTEN_FDS_START = 3


def handed_over() -> tuple[list[tuple[str, socket.socket]], str]:
    """The sockets of systemd by name, and Valkey's password, for which it opened a file; none where there is none.

    The sockets are those of its units, and connections that an earlier process had it keep.
    """
    sockets, password = [], ""
    for number, name in enumerate(os.environ["LISTEN_FDNAMES"].split(":"), LISTEN_FDS_START):
        if name == "valkey":
            with os.fdopen(number, encoding="utf-8") as file:
                password = file.read()
        else:
            sockets.append((name, socket.socket(fileno=number)))
    return sockets, password


def tell_systemd(state: bytes, *descriptors: int) -> None:
    """Send a message of sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.connect(os.environ["NOTIFY_SOCKET"])
        socket.send_fds(line, [state], descriptors)


def keep(connection: socket.socket) -> None:
    """Have systemd hold a connection too, until its other side is gone: what is said meanwhile waits in it."""
    tell_systemd(b"FDSTORE=1\nFDNAME=stats", connection.fileno())


async def serve() -> None:
    """Answer until systemd ends it."""
    sockets, password = handed_over()
    valkey = Valkey(os.environ["POLICY_VALKEY_SOCKET"], os.environ["POLICY_VALKEY_USER"], password)
    of_domains = os.environ["POLICY_POP_BEFORE_SMTP_SENDERS"] == "tenant"
    logins = Logins(valkey, int(os.environ["POLICY_POP_BEFORE_SMTP"]), keep, of_domains=of_domains)
    service = Service(Directory(os.environ["POLICY_DIRECTORY"]), valkey, logins)
    answering = []
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for name, handed in sockets:
        match name:
            case "requests":
                answering.append(await asyncio.start_server(service.converse, sock=handed, limit=protocol.MAX_REQUEST))
            case "logins":
                logins.listen(handed)
            case "stats":
                logins.hear(handed)
    tell_systemd(b"READY=1")
    await ended.wait()
    with suppress(Down):
        await logins.end()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("mailhosting_policy: start it by mailhosting-policy.socket")
    asyncio.run(serve())
