# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory and Valkey for programs with an event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from .errors import DirectoryError, ValkeyUnavailableError, one_line
from .valkey import PATIENCE, READ_SIZE, Command, Reply, Wire, encode


@dataclass
class AsyncDirectory:
    """PostgreSQL over one connection that is opened on demand and kept.  A query takes at most `patience` seconds."""

    conninfo: str
    patience: float = PATIENCE
    _connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, query: str, *arguments: str) -> list[tuple[Any, ...]]:
        """The rows of one SELECT.  Raises: DirectoryError."""
        try:
            async with asyncio.timeout(self.patience), self._turn:
                return await self._ask(query, arguments)
        except TimeoutError as error:
            raise DirectoryError("the directory does not answer") from error
        except (psycopg.Error, OSError) as error:
            raise DirectoryError(f"the directory: {one_line(error)}") from error

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
    """Read the result of a task that no caller waits for, so that asyncio logs no error."""
    if not task.cancelled():
        task.exception()


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """End the connection under a query that hangs; psycopg sees that and cleans up."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


class AsyncValkey:
    """Valkey for an event loop, over a connection for each call, so that no reply is taken for that of another call."""

    def __init__(self, path: str, username: str, password: str = "", *, patience: float = PATIENCE) -> None:
        self._path: Final = path
        self._login: Final = ("AUTH", username, password)
        self._patience: Final = patience

    async def ask(self, *commands: Command) -> list[Reply]:
        """The replies to `commands`, sent at once; a Refusal is a reply.  Raises: ValkeyUnavailableError."""
        try:
            async with asyncio.timeout(self._patience):
                reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    writer.write(encode([self._login, *commands]))
                    return await _answers(reader, len(commands))
                finally:
                    writer.close()
        except TimeoutError:
            raise ValkeyUnavailableError("Valkey does not answer") from None
        except (OSError, ValueError) as error:
            raise ValkeyUnavailableError(f"Valkey: {error}") from error


async def _answers(reader: asyncio.StreamReader, count: int) -> list[Reply]:
    """The replies to `count` commands that follow a login.  Raises: OSError, ValueError."""
    wire = Wire(count + 1)
    while wire.is_waiting:
        wire.feed(await reader.read(READ_SIZE))
    login, *replies = wire.replies
    if login != b"OK":
        raise ValueError(login)
    return replies
