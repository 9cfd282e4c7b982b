# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service on the socket that systemd hands over; settings come from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

# Run by its path: the folder above is where the package is.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mailhosting_policy import protocol
from mailhosting_policy.service import Service
from mailhosting_policy.sources import Directory, Valkey

#: The first file descriptor of sd_listen_fds(3).
LISTEN_FDS_START = 3


async def serve() -> None:
    """Answer until something ends the process; it has nothing to put away."""
    service = Service(
        Directory(os.environ["POLICY_DIRECTORY"]),
        Valkey(os.environ["POLICY_VALKEY_SOCKET"], os.environ["POLICY_VALKEY_USER"]),
    )
    listening = socket.socket(fileno=LISTEN_FDS_START)
    server = await asyncio.start_server(service.converse, sock=listening, limit=protocol.MAX_REQUEST)
    await server.serve_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("mailhosting_policy: start it by mailhosting-policy.socket")
    asyncio.run(serve())
