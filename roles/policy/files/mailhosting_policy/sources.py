# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory and Valkey: both answer within their time, or are said to be down."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

#: Seconds for a question; Postfix waits longer than for both.
PATIENCE: Final = 1.0


class Down(Exception):
    """A source does not answer, or not what it should; the text names it and says what happened."""


@dataclass
class Directory:
    """PostgreSQL over one connection, opened when it is needed and kept."""

    conninfo: str
    _connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, query: str, *arguments: str) -> list[tuple[Any, ...]]:
        """The rows of one SELECT.  Down after PATIENCE seconds or an error."""
        try:
            async with asyncio.timeout(PATIENCE), self._turn:
                return await self._ask(query, arguments)
        except TimeoutError as error:
            raise Down("the directory does not answer") from error
        except (psycopg.Error, OSError) as error:
            raise Down(f"the directory: {' '.join(str(error).split())}") from error

    async def _ask(self, query: str, arguments: Sequence[str]) -> list[tuple[Any, ...]]:
        if self._connection is not None:
            # PostgreSQL may have been restarted since.
            with suppress(psycopg.OperationalError):
                return await self._run(query, arguments)
        self._connection = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        return await self._run(query, arguments)

    async def _run(self, query: str, arguments: Sequence[str]) -> list[tuple[Any, ...]]:
        connection, self._connection = self._connection, None
        assert connection is not None  # noqa: S101 - for the type checker
        run = asyncio.create_task(_rows(connection, query, arguments))
        try:
            # Shielded: psycopg would wait for the server to cancel, and a hung one does not.
            rows = await asyncio.shield(run)
        except asyncio.CancelledError:
            run.add_done_callback(_forget)
            _hang_up(connection)
            raise
        except psycopg.Error:
            await connection.close()
            raise
        self._connection = connection
        return rows


async def _rows(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], query: str, arguments: Sequence[str]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query.encode(), arguments)
    return await cursor.fetchall()


def _forget(task: asyncio.Task[Any]) -> None:
    """Nobody waits for the task any more, and its error is known."""
    if not task.cancelled():
        task.exception()


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """End the connection under a query that hangs; psycopg sees that and cleans up."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Valkey:
    """Valkey over a connection for each question, so that no answer is ever taken for another question's."""

    path: str
    username: str
    password: str = field(default="", repr=False)

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of `keys`, None for what is missing.  Down after PATIENCE seconds or an error."""
        async with self._told(_command("MGET", *keys)) as reader:
            return await _array(reader)

    async def remember(self, values: Mapping[str, str], seconds: int) -> None:
        """Set each key to its value, until `seconds` after the time (Unix) that it begins with.

        Down after PATIENCE seconds or an error.
        """
        commands = [
            _command("SET", key, value, "EXAT", str(int(float(value.partition(" ")[0])) + seconds))
            for key, value in values.items()
        ]
        async with self._told(b"".join(commands)) as reader:
            for _command_sent in commands:
                await _line(reader, b"+OK")

    @asynccontextmanager
    async def _told(self, commands: bytes) -> AsyncIterator[asyncio.StreamReader]:
        """Where Valkey's answers to `commands` come from.  Down after PATIENCE seconds or an error."""
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self.path)
                try:
                    writer.write(_command("AUTH", self.username, self.password) + commands)
                    await _line(reader, b"+OK")
                    yield reader
                finally:
                    writer.close()
        except TimeoutError as error:
            raise Down("Valkey does not answer") from error
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Down(f"Valkey: {error}") from error


def _command(*words: str) -> bytes:
    """A command in RESP, the protocol of Redis."""
    encoded = [word.encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


async def _line(reader: asyncio.StreamReader, kind: bytes) -> bytes:
    """The rest of a line that begins with `kind`; ValueError for another, such as an error's."""
    line = await reader.readuntil(b"\r\n")
    if not line.startswith(kind):
        raise ValueError(f"unexpected answer {line[:80]!r}")
    return line[len(kind) : -2]


async def _array(reader: asyncio.StreamReader) -> list[bytes | None]:
    values: list[bytes | None] = []
    for _number in range(int(await _line(reader, b"*"))):
        length = int(await _line(reader, b"$"))
        values.append(None if length < 0 else (await reader.readexactly(length + 2))[:-2])
    return values
