# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the directory while it is away, seen by PostgreSQL's client library."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mailhosting.mailboxes import directory_away as away

SOCKET = ".s.PGSQL.5432"


ENCODING = away.message(b"S", b"client_encoding\0UTF8\0")
#: PostgreSQL's messages to a client that it admits, to one that it does not admit yet, and to a query.
LETS_IN = away.message(b"R", bytes(4)) + ENCODING + away.READY
IS_STARTING = away.message(b"E", b"SFATAL\0C57P03\0Mthe database system is starting up\0\0")
ANSWER = away.message(b"C", b"SELECT 17\0") + away.READY


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away, "PAUSE", 0.01)
    monkeypatch.setattr(away, "LASTS", 0.1)


def with_stand_in(folder: Path, what: Callable[[Any], Coroutine[Any, Any, None]], restart: float = 20) -> None:
    """Run `what` beside the stand-in in `folder`; the directory itself, in its folder `real`, is away."""
    (folder / "real").mkdir()

    async def run() -> None:
        stand_in = away.StandIn(str(folder / "real" / SOCKET), restart)
        async with await asyncio.start_unix_server(stand_in.converse, folder / SOCKET):
            await what(stand_in)

    asyncio.run(run())


async def directory(folder: Path, begins: bytes = LETS_IN) -> asyncio.Server:
    """A directory that sends `begins` to each client, and answers queries."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begins)
        await reader.read(len(STARTUP))
        if b"SELECT 1" in await reader.read(100):
            writer.write(ANSWER)
        await reader.read()
        writer.close()

    return await asyncio.start_unix_server(converse, folder / "real" / SOCKET)


#: The client library's startup message, shortened.
STARTUP = struct.pack("!II", 22, 3 << 16) + b"user\0dovecot\0\0"


async def ask(folder: Path) -> str:
    """The answer that the client library gets: it tries the real directory first."""
    hosts = f"{folder / 'real'},{folder}"
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=hosts, user="dovecot", dbname="mailhosting", autocommit=True
        )
    except psycopg.OperationalError as error:
        return f"no connection: {error}"
    try:
        return (await connection.execute("SELECT 1")).statusmessage or ""
    except psycopg.OperationalError as error:
        return str(error)
    finally:
        await connection.close()


def test_a_question_is_held_until_the_directory_is_back_and_answered_by_it(tmp_path: Path) -> None:
    async def run(stand_in: Any) -> None:
        asked = [asyncio.create_task(ask(tmp_path)) for _ in range(20)]
        _done, waiting = await asyncio.wait(asked, timeout=0.3)
        assert len(waiting) == 20
        assert stand_in.idle == 0
        async with await directory(tmp_path):
            back = time.monotonic()
            assert await asyncio.gather(*asked) == ["SELECT 17"] * 20
            assert time.monotonic() - back < 1

    with_stand_in(tmp_path, run)


def test_who_asks_nothing_is_sent_to_the_directory_when_it_is_back(tmp_path: Path) -> None:
    async def run(_stand_in: Any) -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        writer.write(STARTUP)
        assert await reader.readexactly(len(away.WELCOME)) == away.WELCOME
        async with await directory(tmp_path):
            assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()

    with_stand_in(tmp_path, run)


def test_a_connection_lasts_for_as_long_as_dovecot_makes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away, "LASTS", 0.5)

    async def run(_stand_in: Any) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        writer.write(STARTUP + away.message(b"Q", b"SELECT 1\0"))
        async with await directory(tmp_path):
            assert await reader.readexactly(len(away.WELCOME + ANSWER)) == away.WELCOME + ANSWER
            assert await asyncio.wait_for(reader.read(), 2) == b""
        assert time.monotonic() - began >= 0.5
        writer.close()

    with_stand_in(tmp_path, run)


def test_a_directory_that_is_starting_is_not_back(tmp_path: Path) -> None:
    async def run(_stand_in: Any) -> None:
        async with await directory(tmp_path, IS_STARTING):
            task = asyncio.create_task(ask(tmp_path))
            _done, waiting = await asyncio.wait([task], timeout=0.3)
            assert waiting
        async with await directory(tmp_path):
            assert await asyncio.wait_for(task, 2) == "SELECT 17"

    with_stand_in(tmp_path, run)


def test_after_more_than_a_restart_nobody_waits(tmp_path: Path) -> None:
    async def run(_stand_in: Any) -> None:
        began = time.monotonic()
        assert "closed the connection unexpectedly" in await ask(tmp_path)
        assert time.monotonic() - began >= 0.2
        began = time.monotonic()
        for _question in range(3):
            assert "closed the connection unexpectedly" in await ask(tmp_path)
        assert time.monotonic() - began < 1
        # The next absence may be a restart again.
        async with await directory(tmp_path):
            await asyncio.sleep(0.2)
        task = asyncio.create_task(ask(tmp_path))
        _done, waiting = await asyncio.wait([task], timeout=0.15)
        assert waiting
        async with await directory(tmp_path):
            assert await asyncio.wait_for(task, 2) == "SELECT 17"

    with_stand_in(tmp_path, run, restart=0.2)


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x08\x04\xd2\x16\x2f", b"\xff" * 8])
def test_who_begins_no_session_is_not_welcomed(tmp_path: Path, first: bytes) -> None:
    async def run(_stand_in: Any) -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        writer.write(first)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()

    with_stand_in(tmp_path, run)
