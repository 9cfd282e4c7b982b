# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the host fail while mail comes in: accepted mail arrives once, and other mail never."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, may_log_in, octets, until
from ..control import Control
from .wire import (
    ABE,
    BABA,
    ENDO,
    FUJITA,
    FULL,
    JINNO,
    MEBIBYTE,
    PUT_OFF,
    STRANGER,
    TOO_MANY,
    all_arrived,
    answer,
    connect_anew,
    die,
    empty,
    empty_disk,
    handed_in,
    in_maildrop,
    incoming,
    maildrop,
    session_of,
    usage,
    valkey,
)

SENDERS = 6
#: In place of a reply: the client gave up in the middle, or the host closed the connection.
GIVEN_UP, CUT_OFF = -1, 0


class Mail(NamedTuple):
    """A mail, the last reply that its client got, its begin, and the longest wait for a reply (seconds)."""

    name: str
    code: int
    said: str
    began: float
    slowest: float


class Client:
    """Sends one mail for BABA, as a login or a stranger, and waits a minute for each reply."""

    def __init__(self, server: Server, login: User | None) -> None:
        self._server, self._login = server, login
        self._slowest = 0.0

    def mail(self, *, give_up: bool = False) -> Mail:
        name = f"<{uuid.uuid4().hex}@e2e.test>"
        began = time.monotonic()
        try:
            with smtplib.SMTP(self._server.address, 587 if self._login else 25, timeout=60) as session:
                self._slowest = time.monotonic() - began
                code, said = self._converse(session, name, give_up=give_up)
        except smtplib.SMTPResponseException as error:
            code, said = error.smtp_code, repr(error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            code, said = GIVEN_UP if give_up else CUT_OFF, repr(error)
        return Mail(name, code, said, began, max(self._slowest, time.monotonic() - began if code == CUT_OFF else 0))

    def _converse(self, session: smtplib.SMTP, name: str, *, give_up: bool) -> tuple[int, str]:
        commands = ["EHLO client.outside.example"]
        if self._login:
            token = base64.b64encode(f"\0{self._login.address}\0{self._login.password}".encode()).decode()
            commands.append(f"AUTH PLAIN {token}")
        sender = self._login.address if self._login else STRANGER
        commands += [f"MAIL FROM:<{sender}>", f"RCPT TO:<{BABA.address}>", "DATA"]
        content = f"Message-ID: {name}\r\nFrom: <{sender}>\r\n\r\n".encode() + b"some words\r\n" * 50
        for command in commands:
            code, said = self._ask(session, command.encode())
            if code >= 400:
                return code, f"{command}: {said}"
        if give_up:
            session.send(content)
            die(session)
            return GIVEN_UP, ""
        return self._ask(session, content + b".")

    def _ask(self, session: smtplib.SMTP, words: bytes) -> tuple[int, str]:
        began = time.monotonic()
        session.send(words + b"\r\n")
        code, said = session.getreply()
        self._slowest = max(self._slowest, time.monotonic() - began)
        return code, said.decode()


class Traffic:
    """Clients that send mail all the time, and the results."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._end = threading.Event()
        self.mails: list[Mail] = []

    def _send(self, number: int) -> None:
        client = Client(self._server, ABE if number % 2 else None)
        for count in range(10**6):
            if self._end.wait(0.2):
                return
            self.mails.append(client.mail(give_up=count % 5 == number % 5))

    def start(self) -> None:
        self._pool = ThreadPoolExecutor(SENDERS)
        self._senders = [self._pool.submit(self._send, number) for number in range(SENDERS)]

    def stop(self) -> None:
        """End after the mails that have begun."""
        self._end.set()
        self._pool.shutdown()
        for sender in self._senders:
            sender.result()

    def flows(self, *codes: int, timeout: float = 60) -> bool:
        """Whether twenty mails that begin after this end with one of `codes`, whatever others end with."""
        begin = time.monotonic()
        return until(lambda: sum(mail.code in codes and mail.began > begin for mail in self.mails) >= 20, timeout)

    def came_to(self, *codes: int) -> list[Mail]:
        return [mail for mail in self.mails if mail.code in codes]


def names_in(server: Server, user: User) -> Counter[str]:
    """The mails in a mailbox."""
    with maildrop(server, user) as session:
        headers = [session.top(number + 1, 0)[1] for number in range(session.stat()[0])]
    lines = [line.decode() for header in headers for line in header if line.startswith(b"Message-ID:")]
    return Counter(line.partition(": ")[2] for line in lines)


def counted(host: testinfra.host.Host) -> int:
    """Messages received in the present windows."""
    keys = valkey(host, "--scan", "--pattern 'mh:1:rate:tenant:*:receive:messages:3600'")
    return sum(int(valkey(host, "hget", key, "n")[0]) for key in keys)


@pytest.fixture
def traffic(server: Server, host: testinfra.host.Host) -> Iterator[Traffic]:
    """Mail that flows; the end checks what became of each, and leaves Dovecot as it was."""
    empty(server, BABA)
    made = Traffic(server)
    made.start()
    try:
        assert made.flows(250)
        yield made
    finally:
        made.stop()
    # Postfix tries mail that Dovecot could not deliver again after minutes.
    waiting = f"postqueue -f; postqueue -j | grep -q {BABA.address}"
    assert until(lambda: host.run(waiting).rc == 1, 60)
    connect_anew(host)
    assert until(lambda: may_log_in(server, "pop3", BABA), 30)
    assert names_in(server, BABA) == Counter(mail.name for mail in made.came_to(250))
    empty(server, BABA)


@contextlib.contextmanager
def without(host: testinfra.host.Host, *acts: str) -> Iterator[None]:
    """The first act takes a part away, the second brings it back."""
    away, back = acts
    host.check_output(away)
    try:
        yield
    finally:
        host.check_output(back)


def limits_apply(server: Server) -> bool:
    """Whether its fifth mail pauses the contract that may receive four; it sends no more."""
    return any(handed_in(server, JINNO) == TOO_MANY for _mail in range(5))


STOPPED = "systemctl stop valkey-server", "systemctl start valkey-server"
HUNG = "systemctl kill --signal=STOP valkey-server", "systemctl kill --signal=CONT valkey-server"
EMPTIED = "systemctl stop valkey-server && rm -r /var/lib/valkey/appendonlydir", "systemctl start valkey-server"


@pytest.mark.timing
@pytest.mark.parametrize("acts", [STOPPED, HUNG, EMPTIED], ids=["stopped", "hung", "emptied"])
def test_without_valkey_mail_flows_and_with_it_limits_are_back(
    server: Server, host: testinfra.host.Host, traffic: Traffic, acts: tuple[str, str]
) -> None:
    """No client waits for Valkey longer than a second at a time."""
    with without(host, *acts):
        assert traffic.flows(250)
        assert [handed_in(server, JINNO)[0] for _mail in range(6)] == [250] * 6
    assert until(lambda: limits_apply(server), 10)
    assert traffic.flows(250)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} == {250, GIVEN_UP}
    assert max(mail.slowest for mail in traffic.mails) < 3
    empty(server, JINNO)


#: Kills the main process and waits until another one runs.
KILLED = """
pid() { systemctl show --value --property=MainPID valkey-server; }
was=$(pid)
kill -KILL $was
while [ $(pid) = $was ] || [ $(pid) = 0 ] || ! systemctl is-active --quiet valkey-server; do sleep 0.1; done
"""


@pytest.mark.parametrize("end", ["systemctl restart valkey-server", KILLED], ids=["restarted", "killed"])
def test_valkey_forgets_nothing_when_it_ends(server: Server, host: testinfra.host.Host, end: str) -> None:
    """At its start Valkey reads what the gate's scripts wrote, as a user with fewer rights."""
    day = f"mh:1:day:{datetime.now(UTC).date()}:*"

    def counts() -> list[list[str]]:
        keys = [key for pattern in (day, "mh:1:rate:*") for key in valkey(host, "--scan", f"--pattern '{pattern}'")]
        return sorted([key, *sorted(valkey(host, "hgetall", key))] for key in keys)

    assert handed_in(server, BABA)[0] == 250
    assert all_arrived(host)
    before = counts()
    assert {key.split(":")[2] for key, *_rest in before} == {"day", "rate"}
    host.check_output(end)
    assert counts() == before
    empty(server, BABA)


def test_a_lost_valkey_is_not_an_empty_disk(server: Server, host: testinfra.host.Host) -> None:
    """Until usage is known again no mail is rejected for it; then a full mailbox is full again."""
    empty_disk(server, host, FUJITA, ENDO)
    assert handed_in(server, FUJITA, octets(5 * MEBIBYTE // 2))[0] == 250
    assert until(lambda: in_maildrop(server, FUJITA) == 1)

    def is_full() -> bool:
        with incoming(server) as session:
            return answer(session, STRANGER, ENDO.address, declared=MEBIBYTE) == FULL

    assert is_full()
    with without(host, *EMPTIED):
        pass
    assert until(is_full, 20)
    # Mail that passed meanwhile is not counted twice: what fits passes.
    empty_disk(server, host, FUJITA, ENDO)
    assert handed_in(server, ENDO, octets(2 * MEBIBYTE))[0] == 250
    empty(server, ENDO)


def test_without_the_directory_mail_is_put_off(host: testinfra.host.Host, traffic: Traffic) -> None:
    with without(host, "systemctl stop postgresql@17-main", "systemctl start postgresql@17-main"):
        gone = time.monotonic()
        assert traffic.flows(451, 454)
        assert not traffic.flows(250, timeout=1)
        back = time.monotonic()
    assert traffic.flows(250)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} == {250, 451, 454, GIVEN_UP}
    # A login at the moment of the outage waits; after 10 seconds Postfix replies that nobody can check it.
    waited = [mail for mail in traffic.mails if mail.slowest >= 3]
    assert {mail.code for mail in waited} <= {250, 454}
    assert not any(gone < mail.began < back for mail in waited)
    assert len(waited) <= SENDERS
    assert counted(host) == len(traffic.came_to(250))


def test_a_directory_that_hangs_loses_nothing(host: testinfra.host.Host, traffic: Traffic) -> None:
    """Postfix waits for the directory as long as its client does."""
    hung = "systemctl kill --signal=STOP postgresql@17-main", "systemctl kill --signal=CONT postgresql@17-main"
    with without(host, *hung):
        assert not traffic.flows(250, timeout=5)
    assert traffic.flows(250)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} <= {250, 451, 454, GIVEN_UP}


@pytest.mark.timing
def test_without_the_gate_mail_is_put_off(host: testinfra.host.Host, traffic: Traffic) -> None:
    units = "mailhosting-gate@in mailhosting-gate@out"
    with without(host, f"systemctl stop {units}", f"systemctl start {units}"):
        assert traffic.flows(451, 454)
    assert traffic.flows(250)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} == {250, 451, 454, GIVEN_UP}
    assert max(mail.slowest for mail in traffic.mails) < 5
    assert counted(host) == len(traffic.came_to(250))


@pytest.mark.timing
def test_whoever_is_in_a_session_need_not_wait_for_the_gate_to_end(server: Server, host: testinfra.host.Host) -> None:
    """A new session would wake libmilter, but none comes."""
    with incoming(server) as session:
        assert session.docmd("MAIL", f"FROM:<{STRANGER}>")[0] == 250
        with without(host, "systemctl stop --no-block mailhosting-gate@in", "systemctl start mailhosting-gate@in"):
            asked = time.monotonic()
            assert until(lambda: session.docmd("RCPT", f"TO:<{BABA.address}>")[0] == PUT_OFF)
            assert time.monotonic() - asked < 2
    assert until(lambda: handed_in(server, BABA)[0] == 250, 10)
    empty(server, BABA)


@pytest.mark.timing
def test_a_gate_that_is_killed_comes_back(host: testinfra.host.Host, traffic: Traffic) -> None:
    """The mail that it was counting may have been counted; no mail that it let pass is counted again."""
    kills = 3
    for _kill in range(kills):
        host.check_output("systemctl kill --signal=KILL mailhosting-gate@in mailhosting-gate@out")
        assert traffic.flows(250, timeout=10)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} <= {250, 451, 454, GIVEN_UP}
    assert 0 <= counted(host) - len(traffic.came_to(250)) <= kills * SENDERS


SCANNER_STOPPED = "systemctl stop clamav-daemon", "systemctl start clamav-daemon"
NO_SOCKET = "mv /run/clamav/clamd.ctl /run/clamav/elsewhere", "mv /run/clamav/elsewhere /run/clamav/clamd.ctl"
SCANNER_HUNG = "systemctl kill --signal=STOP clamav-daemon", "systemctl kill --signal=CONT clamav-daemon"


@pytest.mark.parametrize("acts", [SCANNER_STOPPED, NO_SOCKET], ids=["stopped", "without-its-socket"])
def test_without_the_scanner_mail_is_put_off(
    server: Server, host: testinfra.host.Host, traffic: Traffic, acts: tuple[str, str]
) -> None:
    """Mail that the host itself sends waits, and arrives when the scanner is back."""
    empty(server, ENDO)
    with without(host, *acts):
        assert traffic.flows(451)
        assert not traffic.flows(250, timeout=1)
        host.check_output(f"printf 'Subject: waits\\n\\nx\\n' | sendmail -f root {ENDO.address}")
        assert until(lambda: "deferred" in host.run(f"postqueue -j | grep {ENDO.address}").stdout)
    assert traffic.flows(250)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} == {250, 451, GIVEN_UP}
    host.check_output("postqueue -f")
    assert until(lambda: in_maildrop(server, ENDO) == 1, 30)
    empty(server, ENDO)


def test_a_scanner_that_is_killed_comes_back(host: testinfra.host.Host, traffic: Traffic) -> None:
    """As the kernel kills what takes too much memory."""
    for _kill in range(3):
        host.check_output("systemctl kill --signal=KILL clamav-daemon")
        assert traffic.flows(250, timeout=20)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} <= {250, 451, GIVEN_UP}


def test_mail_flows_while_the_scanner_reads_its_signatures(host: testinfra.host.Host, traffic: Traffic) -> None:
    for _reload in range(3):
        host.check_output("systemctl reload clamav-daemon")
        assert traffic.flows(250, timeout=10)
    traffic.stop()
    assert {mail.code for mail in traffic.mails} == {250, GIVEN_UP}


def test_a_scanner_that_hangs_is_waited_for_less_than_two_minutes(server: Server, host: testinfra.host.Host) -> None:
    """What comes, and what is sent."""
    patient = replace(server, timeout=150)

    def waited(sender: str | User) -> tuple[int, float]:
        began = time.monotonic()
        with session_of(patient, sender) as session:
            code, _text = answer(session, sender if isinstance(sender, str) else sender.address, JINNO.address)
        return code, time.monotonic() - began

    with without(host, *SCANNER_HUNG), ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(waited, [STRANGER, ABE]))
    assert [code for code, _seconds in answers] == [PUT_OFF] * 2
    assert max(seconds for _code, seconds in answers) < 120
    assert until(lambda: handed_in(server, JINNO)[0] == 250, 10)
    empty(server, JINNO)


POOL_USERS = [User(f"p{number}@pool.example", f"Pool-Pool-{number}") for number in range(3)]


@pytest.fixture
def pool(control: Control) -> Iterator[int]:
    """The bytes of a contract with three mailboxes, and an all@ for everybody."""
    overrides = {"tenant_quota": "20M", "all_address": "everybody"}
    control.module("mail_tenant", name="pool", plan="suite", overrides=overrides, domains=[{"name": "pool.example"}])
    for user in POOL_USERS:
        control.module("mail_account", address=user.address, password=user.password, restore=False)
    yield 20 * MEBIBYTE
    control.module("mail_tenant", name="pool", state="absent", grace="0s")


def test_a_hundred_at_once_and_all_of_20_megabytes_do_not_overfill_a_pool(
    server: Server, host: testinfra.host.Host, pool: int
) -> None:
    all_of_them = User("all@pool.example", "")
    # The usage of a mailbox that the gate has not asked about yet is measured now.
    assert handed_in(server, all_of_them)[0] == 250
    empty_disk(server, host, *POOL_USERS)
    single, large = octets(400_000), octets(2 * MEBIBYTE)
    mails = [(POOL_USERS[number % 3], single) for number in range(100)]
    for at in (10, 30, 50, 70):
        mails.insert(at, (all_of_them, large))

    def patiently(mail: tuple[User, bytes]) -> tuple[int, bytes]:
        """Postfix accepts fifty connections of an address at a time (smtpd_client_connection_count_limit)."""
        answers: list[tuple[int, bytes]] = []

        def done() -> bool:
            with contextlib.suppress(smtplib.SMTPConnectError):
                answers.append(handed_in(server, *mail))
            return bool(answers)

        assert until(done, 60)
        return answers[0]

    with ThreadPoolExecutor(len(mails)) as clients:
        said = list(clients.map(patiently, mails))
        assert handed_in(server, all_of_them, octets(20 * MEBIBYTE)) == FULL
    assert {code for code, _text in said} == {250, 452}
    taken = [mail for mail, (code, _text) in zip(mails, said, strict=True) if code == 250]
    copies = [(3 if user == all_of_them else 1, len(content)) for user, content in taken]
    # Nearly all of the pool is used, and no more.
    assert pool - 3 * len(large) < sum(number * size for number, size in copies) <= pool
    assert all_arrived(host)
    assert sum(in_maildrop(server, user) for user in POOL_USERS) == sum(number for number, _size in copies)
    assert host.run("postqueue -j | grep -q pool.example").rc == 1
    assert sum(int(usage(host, user)[0]) for user in POOL_USERS) <= pool
