# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers in time or ValkeyError: a Valkey that hangs, restarts, refuses, or talks nonsense."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mailhosting.common.errors import ValkeyError
from mailhosting.common.valkey import Refusal, Valkey
from mailhosting.gate.counters import Counters
from mailhosting.gate.model import Allowed, DailyCount, Limit, LimitSubject, Mailbox, RateCharge, SpaceCheck

from .server import Server

CHARGE = [RateCharge(LimitSubject("tenant", 7, "send"), (Limit("messages", 1000, 3600, None, ("send",)),), 1, 1)]


def seconds(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


@pytest.mark.timing
def test_a_hung_valkey_costs_a_second_and_then_nothing_until_it_answers_again(valkey: Valkey, server: Server) -> None:
    counters = Counters(valkey, lambda _tenant_id: [])

    def ask() -> None:
        with pytest.raises(ValkeyError):
            counters.check(CHARGE)

    assert counters.check(CHARGE) == Allowed()
    with server.hung():
        with ThreadPoolExecutor(20) as pool:
            together = list(pool.map(lambda _number: seconds(ask), range(20)))
        assert all(0.9 < took < 1.8 for took in together)
        assert sum(seconds(ask) for _number in range(100)) < 0.5
        time.sleep(1.0)
        # One of many that ask at once finds out how it is, the others need not wait for that.
        with ThreadPoolExecutor(20) as pool:
            took = sorted(pool.map(lambda _number: seconds(ask), range(20)))
        assert took[-1] < 0.8
        assert took[-5] < 0.09
        assert seconds(lambda: counters.count([DailyCount(7, {"sent_refused": 1})])) < 0.3
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        try:
            assert counters.commit(CHARGE, []) == Allowed()
            break
        except ValkeyError:
            time.sleep(0.02)
    else:
        pytest.fail("it is still said to be down")


def test_answers_that_come_late_are_nobody_elses(valkey: Valkey, server: Server) -> None:
    valkey.ask(("EXISTS", "mh:1:total:1"))
    with server.hung(), pytest.raises(ValkeyError):
        valkey.ask(("SET", "mh:1:total:1", "late"))
    time.sleep(1.05)
    assert valkey.ask(("EXISTS", "mh:1:total:1"), ("EXISTS", "mh:1:total:2")) == [1, 0]


def test_after_a_restart_connections_and_the_script_are_new(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        with closing(Valkey(server.path, "gate")) as valkey:
            counters = Counters(valkey, lambda _tenant_id: [])
            assert counters.commit(CHARGE, []) == Allowed()
            server.stop()
            for _number in range(3):
                with pytest.raises(ValkeyError):
                    counters.check(CHARGE)
            server.start()
            assert counters.commit(CHARGE, []) == Allowed()
            server.ask("SCRIPT", "FLUSH")
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert counters.commit(CHARGE, []) == Allowed()
            assert server.ask("HGET", "mh:1:rate:tenant:7:send:messages:3600", "n") == b"2"
    finally:
        server.stop()


def test_a_full_valkey_is_down_and_nothing_is_half_written(valkey: Valkey, server: Server) -> None:
    counters = Counters(valkey, lambda _tenant_id: [])
    server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(ValkeyError, match="OOM"):
            counters.commit(CHARGE, [], [DailyCount(7, {"sent_messages": 1})])
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)
    assert server.ask("KEYS", "mh:1:[rd]*") == []


def test_a_key_of_another_kind_is_down_and_nothing_is_counted(valkey: Valkey, server: Server) -> None:
    server.ask("SET", "mh:1:rate:tenant:7:send:messages:3600", "text")
    server.ask("PEXPIRE", "mh:1:rate:tenant:7:send:messages:3600", 60_000)
    with pytest.raises(ValkeyError, match="WRONGTYPE"):
        Counters(valkey, lambda _tenant_id: []).commit(CHARGE, [], [DailyCount(7, {"sent_messages": 1})])
    assert server.ask("KEYS", "mh:1:day:*") == []


def test_the_gates_user_may_do_what_it_does_and_no_more(valkey: Valkey, server: Server) -> None:
    server.ask("SET", "mh:1:login:192.0.2.7/taro@acme.example", 1)
    server.ask("SET", "mh:1:usage:11/taro@acme.example/quota/storage", 5)
    for command in (
        ("GET", "mh:1:login:192.0.2.7/taro@acme.example"),
        ("EVAL", "return redis.call('GET', KEYS[1])", 1, "mh:1:login:192.0.2.7/taro@acme.example"),
        ("EVAL", "return redis.call('GET', 'mh:1:login:192.0.2.7/taro@acme.example')", 0),
        ("SET", "mh:1:usage:11/taro@acme.example/quota/storage", 0),
        ("EVAL", "return redis.call('SET', KEYS[1], 0)", 1, "mh:1:usage:11/taro@acme.example/quota/storage"),
        ("SET", "mh:1:usage:epoch", 1),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
    ):
        (reply,) = valkey.ask(command)
        assert isinstance(reply, Refusal), command
    mailbox = Mailbox(11, "taro@acme.example")
    assert Counters(valkey, lambda _id: [mailbox]).check(CHARGE, [SpaceCheck("tenant", 7, 5, 0)]) == Allowed()


def test_a_wrong_user_is_down(server: Server) -> None:
    with pytest.raises(ValkeyError, match="WRONGPASS"):
        Valkey(server.path, "nobody").ask(("PING",))


def test_no_valkey_is_down(tmp_path: Path) -> None:
    valkey = Valkey(str(tmp_path / "none"), "gate")
    with pytest.raises(ValkeyError, match="Valkey"):
        valkey.ask(("PING",))
    Counters(valkey, lambda _tenant_id: []).count([DailyCount(1, {"sent_refused": 1})])


@contextmanager
def answering(path: Path, *pieces: bytes, pause: float = 0.0) -> Iterator[Valkey]:
    """A client of something that says `pieces` once it has been asked, with pauses before them, and hangs up."""

    def answer() -> None:
        with closing(listening.accept()[0]) as connection:
            connection.recv(4096)
            for piece in pieces:
                time.sleep(pause)
                try:
                    connection.sendall(piece)
                except OSError:
                    return

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        with closing(Valkey(str(path), "gate", patience=0.5)) as client:
            yield client
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"+OK",
        b"+NO\r\n",
        b"+OK\r\n",
        b"-LOADING\r\n",
        b"+OK\r\n:x\r\n",
        b"+OK\r\n*2\r\n:1\r\n",
        b"+OK\r\n$9\r\n1\r\n",
        b"+OK\r\nwhat\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n+PONG\r\n+PONG\r\n",
    ],
)
def test_nonsense_is_down(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "socket", answer) as valkey, pytest.raises(ValkeyError, match="Valkey"):
        valkey.ask(("PING",))


def test_an_answer_in_pieces_is_one(tmp_path: Path) -> None:
    pieces = [b"+OK\r\n", b"*3\r\n$", b"3\r\na\r", b"\n\r\n", b":-1\r\n*-1\r", b"\n"]
    with answering(tmp_path / "socket", *pieces, pause=0.02) as valkey:
        assert valkey.ask(("PING",)) == [[b"a\r\n", -1, None]]


@pytest.mark.timing
def test_an_answer_that_dribbles_is_given_up_when_the_whole_time_is_over(tmp_path: Path) -> None:
    with answering(tmp_path / "socket", b"+OK\r\n", b"+", *[b"x"] * 9, pause=0.1) as valkey:

        def ask() -> None:
            with pytest.raises(ValkeyError, match="does not answer"):
                valkey.ask(("PING",))

        assert 0.45 < seconds(ask) < 0.95


def test_a_crowd_is_answered_and_few_connections_stay(valkey: Valkey, server: Server) -> None:
    with ThreadPoolExecutor(100) as pool:
        replies = list(pool.map(lambda number: valkey.ask(("HINCRBY", "mh:1:day:x", "n", 1)) and number, range(2000)))
    assert replies == list(range(2000))
    assert server.ask("HGET", "mh:1:day:x", "n") == b"2000"
    clients = server.ask("CLIENT", "LIST")
    assert isinstance(clients, bytes)
    assert clients.count(b"user=gate") <= 33
