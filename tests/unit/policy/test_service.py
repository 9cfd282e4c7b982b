# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and replies over a socket, with sources that work, are down, hang or send nonsense."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mailhosting.common.asynchronous import AsyncDirectory, AsyncValkey
from mailhosting.common.errors import DirectoryError, SourceError, ValkeyError
from mailhosting.policy import decision, service
from mailhosting.policy.memory import Memory
from mailhosting.policy.service import Service

TARO = "taro@acme.example"
LONG_AGO = float("-inf")
RELAY = {
    "request": "smtpd_access_policy",
    "policy_context": "pop_before_smtp",
    "client_address": "192.0.2.7",
    "sender": TARO,
    "recipient": "someone@outside.example",
}
ALL = RELAY | {"policy_context": "all_members", "sasl_username": TARO, "recipient": "all@acme.example"}


@dataclass
class Rows:
    """A directory with the same answer to every query."""

    rows: list[tuple[object, ...]] | SourceError
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def ask(self, _query: str, *arguments: str) -> list[tuple[object, ...]]:
        self.asked.append(arguments)
        if isinstance(self.rows, SourceError):
            raise self.rows
        return self.rows


@dataclass
class Values:
    """A Valkey with these keys."""

    values: dict[str, bytes] | SourceError = field(default_factory=dict)
    asked: list[Sequence[str]] = field(default_factory=list)

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked.append(keys)
        if isinstance(self.values, SourceError):
            raise self.values
        return [self.values.get(key) for key in keys]


@dataclass
class Arrivals:
    """Events of Dovecot: during the question number `at`, a login reaches Valkey."""

    comes: Callable[[], None] = lambda: None
    at: int = 0
    questions: int = 0

    async def written(self) -> None:
        self.questions += 1
        if self.questions == self.at:
            self.comes()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOMENT", 0.0)


def answer(request: dict[str, str], rows: Rows, values: Values, arrivals: Arrivals | None = None) -> str:
    return asyncio.run(Service(rows, values, arrivals or Arrivals()).answer(request))


def logged_in(seconds_ago: int, client: str = "192.0.2.7", username: str = TARO) -> Values:
    return Values({f"mh:1:login:{client}/{username}": str(int(time.time()) - seconds_ago).encode()})


def test_a_login_opens_relaying() -> None:
    rows = Rows([("hanako@acme.example", 1800, LONG_AGO), (TARO, 1800, LONG_AGO)])
    assert answer(RELAY, rows, logged_in(60)) == decision.PERMIT
    assert rows.asked == [("taro", "acme.example")]


def test_the_journal_says_who_relays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    forged = RELAY | {"queue_id": "4fXY", "recipient": "a b@outside.example"}
    answer(forged, Rows([(TARO, 1800, LONG_AGO)]), logged_in(60))
    said = "queue_id=4fXY tenant=- sasl_username=taro@acme.example client_address=192.0.2.7 from=taro@acme.example"
    assert caplog.messages == [f'POP before SMTP: {said} to="a b@outside.example"']


def test_what_is_relayed_has_a_line_above_postfixs_own_once_a_mail() -> None:
    rows = Rows([(TARO, 1800, LONG_AGO)])
    relaying = RELAY | {"policy_context": "relaying"}
    assert answer(relaying, rows, logged_in(60)) == decision.PERMIT_RELAYING
    assert answer(relaying, rows, Values()) == decision.NO_OPINION

    relayed = RELAY | {"policy_context": "relayed@mx1.example", "instance": "1a2.3"}
    answering = Service(rows, Values(), Arrivals())
    action = asyncio.run(answering.answer(relayed, relayed | {"instance": "1a2.2"}))
    assert re.fullmatch(
        r"PREPEND Received: by mx1\.example \(POP before SMTP\); \w{3}, \d\d \w{3} \d{4} [0-9:]{8} \+0000", action
    )
    assert asyncio.run(answering.answer(relayed, relayed)) == decision.NO_OPINION


@pytest.mark.parametrize(("at", "action"), [(1, decision.PERMIT), (2, decision.PERMIT), (3, decision.NO_OPINION)])
def test_a_login_that_is_on_its_way_opens_it_too(at: int, action: str) -> None:
    values = Values({})

    def comes() -> None:
        values.values = logged_in(0).values

    assert answer(RELAY, Rows([(TARO, 1800, LONG_AGO)]), values, Arrivals(comes, at)) == action


def test_while_a_login_cannot_be_written_mail_is_put_off() -> None:
    def is_down() -> None:
        raise ValkeyError("Valkey")

    assert answer(RELAY, Rows([(TARO, 1800, LONG_AGO)]), logged_in(60), Arrivals(is_down, 1)) == decision.TRY_LATER


def test_an_ipv6_client_too() -> None:
    client = "2001:db8::7"
    values = logged_in(60, client)
    assert answer(RELAY | {"client_address": client}, Rows([(TARO, 1800, LONG_AGO)]), values) == decision.PERMIT


@pytest.mark.parametrize(
    "values",
    [Values(), logged_in(1801), logged_in(60, client="192.0.2.8"), logged_in(60, username="hanako@acme.example")],
    ids=["never", "too long ago", "from elsewhere", "another login"],
)
def test_without_its_login_there_is_no_opinion(values: Values) -> None:
    assert answer(RELAY, Rows([(TARO, 1800, LONG_AGO)]), values) == decision.NO_OPINION


@pytest.mark.parametrize("rows", [[], [(TARO, None, LONG_AGO)], [(None, 1800, LONG_AGO)]])
def test_a_sender_without_the_plan_costs_valkey_nothing(rows: list[tuple[object, ...]]) -> None:
    values = logged_in(60)
    assert answer(RELAY, Rows(rows), values) == decision.NO_OPINION
    assert not values.asked


def test_the_null_sender_is_not_even_looked_up() -> None:
    rows = Rows([(TARO, 1800, LONG_AGO)])
    assert answer(RELAY | {"sender": ""}, rows, logged_in(60)) == decision.NO_OPINION
    assert not rows.asked


@pytest.mark.parametrize("request_", [RELAY, ALL], ids=["relay", "all"])
def test_while_the_directory_is_down_mail_is_put_off(request_: dict[str, str]) -> None:
    assert answer(request_, Rows(DirectoryError("directory")), logged_in(60)) == decision.TRY_LATER


@pytest.mark.parametrize("values", [Values(ValkeyError("Valkey")), Values({f"mh:1:login:192.0.2.7/{TARO}": b"soon"})])
def test_while_valkey_is_down_or_confused_mail_is_put_off(values: Values) -> None:
    assert answer(RELAY, Rows([(TARO, 1800, LONG_AGO)]), values) == decision.TRY_LATER


@pytest.mark.parametrize("context", ["", "other"])
def test_an_unknown_question_puts_mail_off(context: str) -> None:
    assert (
        answer(RELAY | {"policy_context": context}, Rows([(TARO, 1800, LONG_AGO)]), logged_in(60)) == decision.TRY_LATER
    )


def test_a_member_may_write_to_all() -> None:
    rows = Rows([(True,)])
    assert answer(ALL, rows, Values()) == decision.PERMIT
    assert rows.asked == [("taro", "acme.example", "acme.example")]


@pytest.mark.parametrize("rows", [[(False,)], [(None,)], []])
def test_others_are_refused_and_told_why(rows: list[tuple[object, ...]]) -> None:
    refusal = answer(ALL, Rows(rows), Values())
    assert refusal.startswith("554 5.7.1 ")
    assert "acme.example" in refusal


@dataclass
class Plans:
    """A directory in which each address belongs to the login of its name, with the plan, in tenant acme.example.

    With `senders` each address belongs to all logins of its domain too.  `stopped` may send with no address.  Logins
    before `since` do not count.
    """

    senders: str = "login"
    stopped: str = ""
    since: float = LONG_AGO

    async def ask(self, query: str, *arguments: str) -> list[tuple[object, ...]]:
        if "is_member" in query:
            return [(True,)] if arguments[1:] == ("acme.example", "acme.example") else []
        logins: list[tuple[object, ...]] = [("@".join(arguments), 1800, self.since)]
        if self.senders == "tenant":
            logins.append(("@" + arguments[1], 1800, LONG_AGO))
        return [login for login in logins if login[0] != self.stopped]


WITHOUT_AUTH = ALL | {"sasl_username": ""}


def test_a_member_who_has_just_read_mail_may_write_to_all_without_auth() -> None:
    answering = Service(Plans(), logged_in(60), Arrivals())
    assert asyncio.run(answering.answer(WITHOUT_AUTH)) == decision.PERMIT


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        ({}, Values()),
        ({}, logged_in(1801)),
        ({"client_address": "192.0.2.8"}, logged_in(60)),
        ({"sender": ""}, logged_in(60)),
        ({"sender": "ken@acme.example"}, logged_in(60)),
        ({"sender": "x@other.example"}, logged_in(60, username="x@other.example")),
    ],
    ids=["never", "too long ago", "from elsewhere", "null sender", "another sender", "another tenant"],
)
def test_nobody_else_may_without_auth(changed: dict[str, str], values: Values) -> None:
    answering = Service(Plans(), values, Arrivals())
    assert asyncio.run(answering.answer(WITHOUT_AUTH | changed)).startswith("554 5.7.1 ")


KENS = Values({"mh:1:login:192.0.2.7/@acme.example": b"%d ken@acme.example" % time.time()})


@pytest.mark.parametrize("request_", [RELAY, WITHOUT_AUTH], ids=["relay", "all"])
@pytest.mark.parametrize(
    ("plans", "opens"),
    [
        (Plans("tenant"), True),
        (Plans("tenant", stopped="ken@acme.example"), False),
        (Plans("tenant", since=time.time() + 1), False),
        (Plans("login"), False),
    ],
    ids=["tenant", "stopped since", "has another password since", "login"],
)
def test_a_login_opens_for_others_of_its_tenant_where_the_plan_says_so(
    request_: dict[str, str], plans: Plans, opens: bool
) -> None:
    action = asyncio.run(Service(plans, KENS, Arrivals()).answer(request_))
    assert (action == decision.PERMIT) is opens, action


def test_who_has_not_logged_in_and_is_no_sender_is_refused() -> None:
    values = Values()
    assert answer(WITHOUT_AUTH, Rows([]), values).startswith("554 5.7.1 ")
    assert not values.asked


def block(request: dict[str, str]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in request.items()).encode() + b"\n"


def converse(said: bytes) -> bytes:
    """The service's replies to a client that sends `said` and nothing more."""

    async def conversation() -> bytes:
        answering = Service(Rows([(TARO, 1800, LONG_AGO)]), logged_in(60), Arrivals())
        server = await asyncio.start_server(answering.converse, "127.0.0.1", 0, limit=4096)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(said)
        writer.write_eof()
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        server.close()
        return heard

    return asyncio.run(conversation())


def test_one_connection_has_many_requests() -> None:
    assert converse(block(RELAY) + block(RELAY | {"sender": ""})) == b"action=OK\n\naction=DUNNO\n\n"


@pytest.mark.parametrize(
    "garbage", [b"", b"\n\n", b"x" * 10_000, b"\0" * 100 + b"\n\n", b"EHLO x\r\n\r\n", block(RELAY)[:-1]]
)
def test_garbage_gets_no_answer(garbage: bytes) -> None:
    assert converse(garbage) == b""


def test_garbage_after_a_request_ends_the_connection() -> None:
    assert converse(block(RELAY) + b"garbage\n\n" + block(RELAY)) == b"action=OK\n\n"


AUTH = b"*3\r\n$4\r\nAUTH\r\n$6\r\npolicy\r\n$6\r\nsecret\r\n"
MGET = b"*2\r\n$4\r\nMGET\r\n$1\r\nk\r\n"
SET = b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n17\r\n$4\r\nEXAT\r\n$4\r\n1817\r\n"


def get(valkey: Memory) -> Coroutine[Any, Any, list[bytes | None]]:
    return valkey.get(["k"])


def remember(valkey: Memory) -> Coroutine[Any, Any, None]:
    return valkey.remember({"k": "17"}, 1800)


def valkey_says(tmp_path: Path, answers: bytes | None, ask: Callable[[Memory], Coroutine[Any, Any, Any]] = get) -> Any:
    """The result of `ask` if Valkey answers everything with `answers`; None: it never answers."""

    async def exchange() -> Any:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                commands = AUTH + (MGET if ask is get else SET)
                assert await reader.readexactly(len(commands)) == commands
                if answers is None:
                    await reader.read()  # until the client gives up
                else:
                    writer.write(answers)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(talk, tmp_path / "socket")
        try:
            return await ask(
                Memory(
                    AsyncValkey(str(tmp_path / "socket"), "policy", "secret", patience=0.1 if answers is None else 1)
                )
            )
        finally:
            server.close()
            await asyncio.sleep(0.05)  # until the other side notices

    return asyncio.run(exchange())


def test_valkeys_values(tmp_path: Path) -> None:
    assert valkey_says(tmp_path, b"+OK\r\n*1\r\n$3\r\n1\r\n\r\n") == [b"1\r\n"]
    assert valkey_says(tmp_path, b"+OK\r\n*1\r\n$-1\r\n") == [None]


def test_valkey_remembers(tmp_path: Path) -> None:
    valkey_says(tmp_path, b"+OK\r\n+OK\r\n", remember)


@pytest.mark.parametrize("answers", [b"", b"+OK\r\n", b"+OK\r\n-OOM command not allowed\r\n", b"+OK\r\n$-1\r\n"])
def test_what_valkey_has_not_taken_is_said(tmp_path: Path, answers: bytes) -> None:
    with pytest.raises(ValkeyError, match="Valkey"):
        valkey_says(tmp_path, answers, remember)


@pytest.mark.parametrize(
    "answers",
    [
        b"",
        b"+OK\r\n",
        b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        b"+OK\r\n-NOPERM No permissions to access a key\r\n",
        b"+OK\r\n-LOADING\r\n",
        b"+OK\r\n*1\r\n$9\r\n1\r\n",
        b"+OK\r\n*x\r\n",
        b"x" * 200_000,
    ],
)
def test_valkeys_errors_are_not_values(tmp_path: Path, answers: bytes) -> None:
    with pytest.raises(ValkeyError, match="Valkey"):
        valkey_says(tmp_path, answers)


def test_a_hung_valkey_is_down_after_its_time(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not answer"):
        valkey_says(tmp_path, None)


def test_no_valkey_is_down(tmp_path: Path) -> None:
    with pytest.raises(ValkeyError, match="Valkey"):
        asyncio.run(Memory(AsyncValkey(str(tmp_path / "none"), "policy")).get(["k"]))


def test_no_directory_is_down(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="directory"):
        asyncio.run(AsyncDirectory(f"host={tmp_path} dbname=x").ask("SELECT 1"))


async def close(directory: AsyncDirectory) -> None:
    assert directory._connection is not None
    await directory._connection.close()


def test_the_directory_is_asked_over_one_connection_and_anew_when_that_is_gone(cluster: str) -> None:
    async def ask() -> None:
        directory = AsyncDirectory(f"host={cluster} user=postgres dbname=postgres")
        (first,) = await directory.ask("SELECT pg_backend_pid(), %s", "a")
        assert first == ((await directory.ask("SELECT pg_backend_pid(), %s", "a"))[0])
        with pytest.raises(SourceError):
            await directory.ask("SELECT pg_terminate_backend(pg_backend_pid())")
        assert (await directory.ask("SELECT 1")) == [(1,)]
        with pytest.raises(SourceError, match="nothing"):
            await directory.ask("SELECT nothing")
        assert (await directory.ask("SELECT 2")) == [(2,)]
        await close(directory)

    asyncio.run(ask())


@pytest.mark.timing
def test_a_query_that_hangs_ends_and_the_next_is_answered(cluster: str) -> None:
    async def ask() -> None:
        directory = AsyncDirectory(f"host={cluster} user=postgres dbname=postgres")
        await directory.ask("SELECT 1")
        directory.patience = 0.3
        start = time.monotonic()
        with pytest.raises(SourceError, match="does not answer"):
            await directory.ask("SELECT pg_sleep(30)")
        assert time.monotonic() - start < 1
        assert (await directory.ask("SELECT 1")) == [(1,)]
        await close(directory)

    asyncio.run(ask())
