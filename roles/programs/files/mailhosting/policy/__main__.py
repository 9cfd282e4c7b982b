# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service on the sockets that systemd passes."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from typing import Final

from ..common import log, settings
from ..common.asynchronous import AsyncDirectory, AsyncValkey
from ..common.errors import ValkeyError
from ..common.systemd import notify, passed, passed_text, ready
from . import protocol
from .logins import Logins
from .memory import Memory
from .service import Service
from .settings import Settings

#: systemd's names of the sockets of the units, and of the connections that it keeps.
SOCKETS: Final = ("requests", "logins", "stats")


def keep(connection: socket.socket) -> None:
    """Make systemd keep a connection open until its other side closes it; data waits in it over a restart."""
    notify(b"FDSTORE=1\nFDNAME=stats", connection.fileno())


async def serve() -> None:
    """Answer until systemd stops the program."""
    # The sockets of the units, and connections that systemd kept for an earlier process.
    sockets = [(name, socket.socket(fileno=number)) for name, number in passed() if name in SOCKETS]
    found = settings.handed_over(Settings)
    valkey = Memory(AsyncValkey(found.valkey_socket, found.valkey_user, passed_text("valkey")))
    of_domains = found.pop_before_smtp_senders == "tenant"
    logins = Logins(valkey, found.pop_before_smtp, keep, of_domains=of_domains)
    service = Service(AsyncDirectory(found.directory), valkey, logins)
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
    ready()
    await ended.wait()
    with suppress(ValkeyError):
        await logins.end()


if __name__ == "__main__":
    log.set_up()
    if not passed():
        sys.exit("policy: start it by mailhosting-policy.socket")
    asyncio.run(serve())
