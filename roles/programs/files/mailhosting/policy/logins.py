# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads POP and IMAP logins from Dovecot's `stats` processes, and writes them to Valkey."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, Protocol

from ..common import keys
from . import decision

LOG: Final = logging.getLogger(__name__)

#: Seconds in which logins gather before they are written; a request does not wait for that.  Twice the time costs half
#: the CPU.  A connection holds about 200 logins, enough for 4,000 a second.
GATHERING: Final = 0.05
#: Seconds until the next attempt while Valkey is down.
PAUSE: Final = 1.0
#: The most logins that wait for Valkey, about 30 MB; beyond them the oldest are dropped.
MOST_WAITING: Final = 100_000
#: Logins written at once.
BATCH: Final = 1000
#: Octets of one read: more than Linux buffers for a socket.
_RECEIVED: Final = 1 << 18
#: Octets of a line at most; a login has 64 of its local part and 255 of its domain.
_LONGEST: Final = 4096

#: An event in Dovecot's tab-text.  If the socket was full, the end of a line and its line feed may be missing.
_LOGIN: Final = re.compile(
    rb"start_time:(\d{1,12}\.\d+)\tend_time:[\d.]+\tfield:user=([!-.0-~]+@[!-.0-~]+)\tfield:remote_ip=([\da-f.:]+)\n"
)


def read(lines: bytes) -> list[tuple[str, float]]:
    """The keys and Unix times of logins in whole lines; other lines are ignored."""
    return [
        (keys.login(client.decode(), username.decode()), float(when))
        for when, username, client in _LOGIN.findall(lines)
    ]


class Memory(Protocol):
    """Valkey, as this module uses it."""

    async def remember(self, values: Mapping[str, str], seconds: int) -> None:
        """Keep values by key, each until so many seconds after the time that it begins with.  Raises: ValkeyError."""


class Logins:
    """Reads logins as they arrive, and keeps them until Valkey has them.

    A login counts for `seconds`.  The object calls `keep` with each new connection.  With `of_domains` it also writes
    the last login of each domain.
    """

    def __init__(
        self, valkey: Memory, seconds: int, keep: Callable[[socket.socket], None], *, of_domains: bool = False
    ) -> None:
        self._valkey = valkey
        self._seconds = seconds
        self._keep = keep
        self._of_domains = of_domains
        self._listening: list[socket.socket] = []
        self._connections: dict[socket.socket, bytes] = {}  # with the beginning of an incomplete line
        self._waiting: dict[str, float] = {}
        self._gathering: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._down = False

    def listen(self, listening: socket.socket) -> None:
        """Start to accept connections and read from them."""
        listening.setblocking(False)
        self._listening.append(listening)
        asyncio.get_running_loop().add_reader(listening, self._accept)

    def hear(self, connection: socket.socket) -> None:
        """Start to read from a connection."""
        connection.setblocking(False)
        self._connections[connection] = b""
        asyncio.get_running_loop().add_reader(connection, self._gather)

    async def written(self) -> None:
        """Return when Valkey has every login that had arrived before.  Raises: ValkeyError."""
        self._receive()
        await self._empty()

    async def end(self) -> None:
        """Stop reading, so that another process can, and write what is waiting.  Raises: ValkeyError."""
        self._receive()
        loop = asyncio.get_running_loop()
        for source in (*self._listening, *self._connections):
            loop.remove_reader(source)
        if self._gathering is not None:
            self._gathering.cancel()
        await self._empty()

    async def _empty(self) -> None:
        if self._waiting:
            await asyncio.shield(self._write())

    def _accept(self) -> None:
        for listening in self._listening:
            with suppress(BlockingIOError):
                while True:
                    connection = listening.accept()[0]
                    self.hear(connection)
                    self._keep(connection)

    def _gather(self) -> None:
        """Wait for more logins before reading the first."""
        loop = asyncio.get_running_loop()
        for connection in self._connections:
            loop.remove_reader(connection)
        self._gathering = loop.call_later(GATHERING, self._gathered)

    def _gathered(self) -> None:
        self._receive()
        loop = asyncio.get_running_loop()
        for connection in self._connections:
            loop.add_reader(connection, self._gather)
        if self._waiting:
            self._write()

    def _receive(self) -> None:
        """Read what has arrived, without waiting."""
        self._accept()
        for connection in list(self._connections):
            try:
                received = connection.recv(_RECEIVED)
            except BlockingIOError:
                continue
            except OSError:
                received = b""
            if not received:
                asyncio.get_running_loop().remove_reader(connection)
                del self._connections[connection]
                connection.close()
                continue
            lines, feed, rest = (self._connections[connection] + received).rpartition(b"\n")
            self._connections[connection] = rest[-_LONGEST:]
            self._take(lines + feed)

    def _take(self, lines: bytes) -> None:
        logins = read(lines)
        if len(logins) != lines.count(b"\n"):
            LOG.warning("not all that Dovecot says of logins can be read: see its metric `logins`")
        self._waiting.update(logins)
        if len(self._waiting) > MOST_WAITING:
            LOG.error("Valkey is down for too long: the oldest of %d logins are forgotten", len(self._waiting))
            for key in list(islice(self._waiting, len(self._waiting) - MOST_WAITING * 9 // 10)):
                del self._waiting[key]

    def _write(self) -> asyncio.Task[None]:
        """The task that writes what is waiting; all callers share one."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
            self._writing.add_done_callback(self._wrote)
        return self._writing

    async def _write_all(self) -> None:
        while self._waiting:
            oldest = time.time() - self._seconds
            batch = dict(islice(self._waiting.items(), BATCH))
            current = {key: when for key, when in batch.items() if when > oldest}
            if current:
                values = {key: str(when) for key, when in current.items()}
                if self._of_domains:
                    values |= decision.logins_of_domains(current)
                await self._valkey.remember(values, self._seconds)
            for key, when in batch.items():
                if self._waiting.get(key) == when:  # unless a newer login has come
                    del self._waiting[key]

    def _write_again(self) -> None:
        self._again = None
        self._write()

    def _wrote(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if not self._down:
                LOG.warning("logins wait: %s", error)
            if self._again is None:
                self._again = asyncio.get_running_loop().call_later(PAUSE, self._write_again)
        elif self._down:
            LOG.info("no login waits any more")
        self._down = error is not None
