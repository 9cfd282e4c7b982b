# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From Dovecot's connection to Valkey: no login is lost and none waits, whatever Valkey does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest
from mailhosting.common.errors import ValkeyError
from mailhosting.policy import logins
from mailhosting.policy.logins import Logins, read

TARO = "mh:1:login:192.0.2.7/taro@acme.example"


def line(when: float, username: str = "taro@acme.example", client: str = "192.0.2.7") -> bytes:
    """An event as Dovecot 2.4.1 writes it."""
    times = f"start_time:{when:.6f}\tend_time:{when + 0.015625:.6f}"
    return f"{times}\tfield:user={username}\tfield:remote_ip={client}\n".encode()


def test_a_line_is_a_login() -> None:
    assert read(line(17)) == [(TARO, 17)]
    assert read(line(17, "12:30@acme.example", "2001:db8::7")) == [("mh:1:login:2001:db8::7/12:30@acme.example", 17)]
    assert [when for _key, when in read(line(17) + line(18, "ken@acme.example"))] == [17, 18]


@pytest.mark.parametrize(
    "wrong",
    [
        b"\n",
        b"event:auth_master_client_login_finished\n",
        line(17, "taro"),
        line(17, "a/b@acme.example"),
        line(17, "a\x01tb@acme.example"),
        line(17, "a b@acme.example"),
        line(17, client=""),
        line(17, client="192.0.2.7/x"),
        line(17).replace(b"\tfield:remote_ip=192.0.2.7", b""),
        line(17).replace(b"start_time:17", b"start_time:x"),
    ],
)
def test_what_is_no_login_is_passed_over(wrong: bytes) -> None:
    assert read(wrong + line(18)) == [(TARO, 18)]


def test_no_login_is_made_of_two() -> None:
    whole = line(17, "hanako@acme.example", "192.0.2.89")
    for cut in range(len(whole)):
        assert read(whole[:cut] + line(18)) == [(TARO, 18)], whole[:cut]


@dataclass
class Memory:
    """A stand-in for Valkey that can be down or hang."""

    times: dict[str, float] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    down: bool = False
    hangs: asyncio.Event | None = None

    async def remember(self, values: Mapping[str, str], seconds: int) -> None:
        assert seconds == 1800
        self.writes += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.down:
            raise ValkeyError("Valkey")
        self.values.update(values)
        self.times.update({key: float(value.partition(" ")[0]) for key, value in values.items()})


class Dovecot:
    """The service's end of a connection and Dovecot's."""

    def __init__(self, memory: Memory, *, of_domains: bool = False) -> None:
        self.kept: list[socket.socket] = []
        self.logins = Logins(memory, 1800, self.kept.append, of_domains=of_domains)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind("")  # an abstract name of its own
        self.listening.listen()
        self.logins.listen(self.listening)
        self.stats = self.connect()

    def connect(self) -> socket.socket:
        stats = socket.socket(socket.AF_UNIX)
        stats.connect(self.listening.getsockname())
        return stats


def run(test: Callable[[Dovecot, Memory], Awaitable[None]], *, of_domains: bool = False) -> None:
    async def inside() -> None:
        memory = Memory()
        dovecot = Dovecot(memory, of_domains=of_domains)
        await test(dovecot, memory)
        await dovecot.logins.end()
        dovecot.listening.close()
        dovecot.stats.close()
        for connection in dovecot.kept:
            connection.close()

    asyncio.run(asyncio.wait_for(inside(), 20))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


#: With a fraction of a second, which matters.
NOW = int(time.time()) + 0.25


def test_logins_that_come_together_are_written_together() -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        for number in range(50):
            dovecot.stats.sendall(line(NOW, f"user{number}@acme.example"))
            await asyncio.sleep(0)
        await until(lambda: len(memory.times) == 50)
        assert memory.writes <= 5

    run(test)


def test_who_asks_does_not_wait_for_more() -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        dovecot.stats.sendall(line(NOW))  # before the service accepts the connection
        await dovecot.logins.written()
        assert memory.times == {TARO: NOW}
        dovecot.stats.sendall(line(NOW + 1)[:-5])
        await dovecot.logins.written()
        dovecot.stats.sendall(line(NOW + 1)[-5:])
        await dovecot.logins.written()
        assert memory.times == {TARO: NOW + 1}
        assert len(dovecot.kept) == 1

    run(test)


@pytest.mark.parametrize("of_domains", [False, True])
def test_who_of_a_domain_was_last_is_kept_where_that_is_asked_for(of_domains: bool) -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        dovecot.stats.sendall(line(NOW) + line(NOW + 1, "ken@acme.example"))
        await dovecot.logins.written()
        of_domain = {"mh:1:login:192.0.2.7/@acme.example": f"{NOW + 1} ken@acme.example"}
        own = {TARO: str(NOW), "mh:1:login:192.0.2.7/ken@acme.example": str(NOW + 1)}
        assert memory.values == own | (of_domain if of_domains else {})

    run(test, of_domains=of_domains)


def test_a_connection_that_ends_has_said_what_it_said() -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        dovecot.stats.sendall(line(NOW))
        dovecot.stats.close()
        await until(lambda: TARO in memory.times)
        await until(lambda: dovecot.kept[0].fileno() < 0)
        dovecot.stats = dovecot.connect()
        dovecot.stats.sendall(line(NOW + 1))
        await until(lambda: memory.times[TARO] == NOW + 1)

    run(test)


def test_logins_wait_while_valkey_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "PAUSE", 0.05)

    async def test(dovecot: Dovecot, memory: Memory) -> None:
        memory.down = True
        dovecot.stats.sendall(line(NOW))
        await until(lambda: memory.writes > 2)
        with pytest.raises(ValkeyError):
            await dovecot.logins.written()
        dovecot.stats.sendall(line(NOW + 1) + line(NOW, "ken@acme.example"))
        await until(lambda: len(dovecot.logins._waiting) == 2)
        memory.down = False
        await until(lambda: len(memory.times) == 2)
        assert memory.times[TARO] == NOW + 1
        assert not dovecot.logins._waiting

    run(test)


def test_however_many_ask_a_valkey_that_is_down_is_tried_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "PAUSE", 0.2)

    async def test(dovecot: Dovecot, memory: Memory) -> None:
        memory.down = True
        dovecot.stats.sendall(line(NOW))
        for _ in range(20):
            with pytest.raises(ValkeyError):
                await dovecot.logins.written()
        tried = memory.writes
        await asyncio.sleep(0.5)
        assert memory.writes <= tried + 3
        memory.down = False

    run(test)


def test_while_valkey_hangs_what_arrives_is_taken_and_written_after_it() -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        memory.hangs = asyncio.Event()
        dovecot.stats.sendall(line(NOW))
        await until(lambda: memory.writes == 1)
        dovecot.stats.setblocking(False)
        for number in range(2000):  # more than a socket's buffer holds
            said = line(NOW, f"u{number}@acme.example")
            await asyncio.get_running_loop().sock_sendall(dovecot.stats, said)
        await asyncio.get_running_loop().sock_sendall(dovecot.stats, line(NOW + 1))
        await until(lambda: len(dovecot.logins._waiting) == 2001)
        assert memory.writes == 1
        memory.hangs.set()
        await dovecot.logins.written()
        assert len(memory.times) == 2001
        assert memory.times[TARO] == NOW + 1

    run(test)


def test_what_waits_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MOST_WAITING", 10)

    async def test(dovecot: Dovecot, memory: Memory) -> None:
        memory.down = True
        for number in range(25):
            dovecot.stats.sendall(line(NOW, f"u{number}@acme.example"))
            with pytest.raises(ValkeyError):
                await dovecot.logins.written()
            assert len(dovecot.logins._waiting) <= 10
        memory.down = False
        await dovecot.logins.written()
        assert "mh:1:login:192.0.2.7/u24@acme.example" in memory.times
        assert "mh:1:login:192.0.2.7/u0@acme.example" not in memory.times

    run(test)


def test_a_login_of_long_ago_is_not_written() -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        dovecot.stats.sendall(line(NOW - 1801) + line(NOW - 60, "ken@acme.example"))
        await dovecot.logins.written()
        assert list(memory.times) == ["mh:1:login:192.0.2.7/ken@acme.example"]
        assert not dovecot.logins._waiting

    run(test)


def test_the_end_leaves_nothing_behind_and_takes_nothing_more() -> None:
    async def test(dovecot: Dovecot, memory: Memory) -> None:
        dovecot.stats.sendall(line(NOW))
        await dovecot.logins.end()
        assert memory.times == {TARO: NOW}
        dovecot.stats.sendall(line(NOW + 1))
        await asyncio.sleep(0.1)
        (connection,) = dovecot.kept
        assert connection.recv(1000) == line(NOW + 1), "another process reads it"

    run(test)
