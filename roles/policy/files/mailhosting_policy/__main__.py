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


def handed_over() -> list[tuple[str, socket.socket]]:
    """The sockets of systemd by name: those of its units, and connections that an earlier process had it keep."""
    names = os.environ["LISTEN_FDNAMES"].split(":")
    return [(name, socket.socket(fileno=number)) for number, name in enumerate(names, LISTEN_FDS_START)]


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
    valkey = Valkey(os.environ["POLICY_VALKEY_SOCKET"], os.environ["POLICY_VALKEY_USER"])
    of_domains = os.environ["POLICY_POP_BEFORE_SMTP_SENDERS"] == "tenant"
    logins = Logins(valkey, int(os.environ["POLICY_POP_BEFORE_SMTP"]), keep, of_domains=of_domains)
    service = Service(Directory(os.environ["POLICY_DIRECTORY"]), valkey, logins)
    answering = []
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    for name, handed in handed_over():
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
