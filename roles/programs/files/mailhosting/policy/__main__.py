# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service on the sockets that systemd passes; settings come from the environment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

from ..common import log
from ..common.asynchronous import AsyncDirectory, AsyncValkey
from ..common.errors import ValkeyError
from ..common.systemd import notify, passed, passed_text, ready
from . import protocol
from .logins import Logins
from .memory import Memory
from .service import Service


def keep(connection: socket.socket) -> None:
    """Make systemd keep a connection open until its other side closes it; data waits in it over a restart."""
    notify(b"FDSTORE=1\nFDNAME=stats", connection.fileno())


async def serve() -> None:
    """Answer until systemd stops the program."""
    # The sockets of the units, and connections that systemd kept for an earlier process.
    sockets = [(name, socket.socket(fileno=number)) for name, number in passed() if name != "valkey"]
    password = passed_text("valkey")
    valkey = Memory(AsyncValkey(os.environ["POLICY_VALKEY_SOCKET"], os.environ["POLICY_VALKEY_USER"], password))
    of_domains = os.environ["POLICY_POP_BEFORE_SMTP_SENDERS"] == "tenant"
    logins = Logins(valkey, int(os.environ["POLICY_POP_BEFORE_SMTP"]), keep, of_domains=of_domains)
    service = Service(AsyncDirectory(os.environ["POLICY_DIRECTORY"]), valkey, logins)
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
