# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces PostgreSQL while it is down, so that none of Dovecot's connections ever fails to open.

After a failed connection Dovecot waits 1, 5, 25 and more seconds, and logins wait as long even if PostgreSQL is back.
So the client library has this socket as its second host.  The program holds a query until PostgreSQL answers again, for
as long as a restart takes, and then passes it on; later queries fail.

systemd starts the program when a client connects, and passes the socket; the program ends after a time without clients.
The protocol is PostgreSQL's, version 3: https://www.postgresql.org/docs/17/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import Final

from ..common import log
from ..common.systemd import passed

LOG: Final = logging.getLogger(__name__)

POSTGRESQL: Final = "/var/run/postgresql/.s.PGSQL.5432"
#: Seconds in which queries are held, from when PostgreSQL was first missed.
RESTART: Final = 5.0
#: Seconds between two attempts to reach PostgreSQL.
PAUSE: Final = 0.05
#: Seconds that either side may take for a message.
PATIENCE: Final = 2.0
#: The least seconds of a connection: Dovecot does not reopen one that it opened in the same second.
LASTS: Final = 1.0
#: Seconds without a connection after which the program ends.
IDLE: Final = 60.0

VERSION_3: Final = 3 << 16
#: The most octets of a client's message.
LONGEST: Final = 100_000


def message(kind: bytes, body: bytes) -> bytes:
    """A message of either side, except a client's first."""
    return kind + struct.pack("!I", len(body) + 4) + body


READY: Final = message(b"Z", b"I")
#: AuthenticationOk, and the parameters that a client needs to quote.
WELCOME: Final = (
    message(b"R", struct.pack("!I", 0))
    + b"".join(
        message(b"S", f"{name}\0{value}\0".encode())
        for name, value in (
            ("server_version", "17.0"),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        )
    )
    + READY
)


class StandIn:
    """Replaces the PostgreSQL at `path`; holds queries for `restart` seconds."""

    def __init__(self, path: str, restart: float = RESTART) -> None:
        self._path, self._restart = path, restart
        self._back, self._over = asyncio.Event(), asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._connections = 0
        self._used = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since the last client was connected."""
        return 0 if self._connections else time.monotonic() - self._used

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Welcome a client, and answer one query of it when PostgreSQL is back."""
        self._connections += 1
        ends = time.monotonic() + LASTS
        # A client that disconnects, or sends an invalid message, is not logged.
        with contextlib.suppress(OSError, EOFError):
            try:
                async with asyncio.timeout(PATIENCE):
                    begins = await _startup(reader)
                self._watch(begins)
                writer.write(WELCOME)
                question = await self._question(reader)
                if question and await self._is_back():
                    async with asyncio.timeout(PATIENCE), self._asked(begins + question) as answer:
                        await _pass_on(answer, writer)
                await writer.drain()
                await asyncio.sleep(ends - time.monotonic())
            finally:
                writer.close()
                self._connections -= 1
                self._used = time.monotonic()

    def _watch(self, begins: bytes) -> None:
        """Start waiting for PostgreSQL, with this client's first message, unless that has started."""
        if self._watching is None or self._watching.done():
            self._back.clear()
            self._over.clear()
            self._watching = asyncio.create_task(self._look(begins))

    async def _look(self, begins: bytes) -> None:
        missed = time.monotonic()
        while not await self._answers(begins):
            if time.monotonic() > missed + self._restart:
                self._over.set()
            await asyncio.sleep(PAUSE)
        self._back.set()
        self._over.set()
        LOG.info("The directory was away for %.1f s.", time.monotonic() - missed)

    async def _answers(self, begins: bytes) -> bool:
        """Whether PostgreSQL accepts a session: it may be starting, or shutting down."""
        try:
            async with asyncio.timeout(PATIENCE), self._asked(begins):
                return True
        except (OSError, EOFError):
            return False

    async def _question(self, reader: asyncio.StreamReader) -> bytes:
        """The client's query; empty if it sends none until PostgreSQL is back."""
        asks, back = asyncio.create_task(_query(reader)), asyncio.create_task(self._back.wait())
        await asyncio.wait((asks, back), return_when=asyncio.FIRST_COMPLETED)
        back.cancel()
        if asks.done():
            return asks.result()
        asks.cancel()
        return b""

    async def _is_back(self) -> bool:
        """Whether PostgreSQL is back in time."""
        await self._over.wait()
        return self._back.is_set()

    @contextlib.asynccontextmanager
    async def _asked(self, words: bytes) -> AsyncIterator[asyncio.StreamReader]:
        """A session of PostgreSQL with this first message.  Raises: OSError, EOFError."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(words)
            kind = b""
            while kind != b"Z":
                kind, _body = await _said(reader)
                if kind == b"E":
                    raise ConnectionRefusedError
            yield reader
        finally:
            writer.close()


async def _startup(reader: asyncio.StreamReader) -> bytes:
    """A client's first message.  Raises: EOFError if it does not start a session; a unix socket has no encryption."""
    head = await reader.readexactly(8)
    length, version = struct.unpack("!II", head)
    if version != VERSION_3 or not 8 <= length <= LONGEST:
        raise EOFError
    return head + await reader.readexactly(length - 8)


async def _said(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The kind and the body of a message."""
    kind, length = struct.unpack("!cI", await reader.readexactly(5))
    return kind, await reader.readexactly(length - 4)


async def _query(reader: asyncio.StreamReader) -> bytes:
    """A client's query.  Raises: EOFError for another message."""
    kind, length = struct.unpack("!cI", await reader.readexactly(5))
    if kind != b"Q" or not 4 <= length <= LONGEST:
        raise EOFError
    return message(kind, await reader.readexactly(length - 4))


async def _pass_on(answer: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass all messages that answer a query to the client."""
    kind = b""
    while kind != b"Z":
        kind, body = await _said(answer)
        writer.write(message(kind, body))


async def serve() -> None:
    """Serve until no client has connected for a while."""
    stand_in = StandIn(POSTGRESQL)
    await asyncio.start_unix_server(stand_in.converse, sock=socket.socket(fileno=passed()[0][1]))
    while stand_in.idle < IDLE:
        await asyncio.sleep(1)


if __name__ == "__main__":
    log.set_up()
    if not passed():
        sys.exit("mailboxes.directory_away: start it by mailhosting-directory-away.socket")
    asyncio.run(serve())
