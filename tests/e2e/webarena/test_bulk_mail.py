# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bulk mail and undeliverable mail: held, reported, and released or deleted by an operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, message, submission, until
from ..control import Control
from ..outside import Outside
from .wire import ABE, BABA, STRANGER, answer, empty, handed_in, in_maildrop, incoming

BOSS = User("boss@crowd.example", "Crowd-Boss-1")
KAI = User("kai@crowd.example", "Crowd-Kai-2")
LEE = User("lee@crowd.example", "Crowd-Lee-3")
MUTE = User("mute@crowd.example", "Crowd-Mute-4")
INFO = "info@crowd.example"
USERS = (BOSS, KAI, LEE, MUTE)

LIMIT = 10
BULK_MAIL = (550, b"sorry, your mail looks like a mass mailing; please ask your provider")
UNKNOWN = (550, b"sorry, too many of your recipients do not exist; please ask your provider")
RUN = " ".join(f"{first}{second}ing" for first in ("sail", "walk", "read", "sing") for second in "abcdefgh")
LETTER = " ".join(f"{first}{second}ed" for first in ("look", "jump", "fold", "call") for second in "stuvwxyz")
RESTART = "systemctl reset-failed 'mailhosting-gate@*'; systemctl restart mailhosting-gate@in mailhosting-gate@out"
LISTENS = "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{}\")'"
SOCKETS = [f"/var/spool/postfix/mailhosting-gate/{name}" for name in ("in", "out")]

Rule = Callable[..., None]


def restart_gate(host: testinfra.host.Host) -> None:
    host.check_output(RESTART)
    assert all(host.run(LISTENS.format(socket)).succeeded for socket in SOCKETS)


@pytest.fixture(scope="module")
def crowd(control: Control) -> Iterator[Control]:
    """A tenant `crowd`, created by modules and removed at the end."""
    domains = [{"name": "crowd.example"}]
    control.module("mail_tenant", name="crowd", plan="suite", state="active", contacts={}, domains=domains)
    for user in USERS:
        control.module("mail_account", address=user.address, password=user.password)
    control.module("mail_alias", address=INFO, targets=[KAI.address])
    control.module("mail_tenant", name="crowd", contacts={"technical": BOSS.address})
    yield control
    control.module("mail_tenant", name="crowd", state="absent", grace="0s", expect_closed=len(USERS))


@pytest.fixture
def rule(crowd: Control, server: Server, host: testinfra.host.Host) -> Iterator[Rule]:
    """`rule(…)`: sets the tenant's bulk_mail; no account is held before and after."""

    def begin_anew() -> None:
        for name in (KAI.address, LEE.address, "crowd"):
            host.check_output(f"mailhosting limits drop {name} && mailhosting limits release {name}")
        empty(server, ABE, BABA, BOSS, KAI, LEE)

    def set_rule(**bulk_mail: Any) -> None:
        crowd.module("mail_tenant", name="crowd", overrides={"bulk_mail": {"per": "1h", **bulk_mail}})
        # The gate keeps a plan for a second.
        restart_gate(host)

    begin_anew()
    yield set_rule
    begin_anew()


def _mail(sender: str, recipient: str, number: int, words: str) -> bytes:
    """Mails of one run: they differ in a name, a number and a link."""
    made = message(sender, recipient)
    made.set_content(f"Dear customer {number},\n\n{words}\n\nhttps://shop.example/offer/{number * 7919}\n")
    return made.as_bytes().replace(b"\n", b"\r\n")


def _sends(server: Server, user: User, words: str, *recipients: str, sender: str = "") -> tuple[int, bytes]:
    """The reply to one mail of `user`; to ABE by default."""
    with submission(server, user) as session:
        to = recipients or (ABE.address,)
        return answer(session, sender or user.address, *to, content=_mail(user.address, to[0], 1, words))


def _sends_run(server: Server, user: User, count: int) -> list[int]:
    """The replies to a run of mails to ABE."""
    with submission(server, user) as session:
        mails = [_mail(user.address, ABE.address, number, RUN) for number in range(count)]
        return [answer(session, user.address, ABE.address, content=content)[0] for content in mails]


def _receives_run(server: Server, user: User, count: int) -> list[tuple[int, bytes]]:
    with incoming(server) as session:
        mails = [_mail(STRANGER, user.address, number, RUN) for number in range(count)]
        return [answer(session, STRANGER, user.address, content=content) for content in mails]


def _held(control: Control, name: str) -> tuple[int, str, bool] | None:
    """How many mails are held, why, and whether the account is held."""
    for hold in control.module("mail_limits", name=name)["holds"]:
        return hold["mails"], hold["kind"], hold["since"] is not None
    return None


def _told_operator(host: testinfra.host.Host) -> int:
    return int(host.check_output("grep -c '^Message-ID: <notice-' /var/mail/root || true") or 0)


@pytest.mark.requirement("MV-5")
def test_a_run_is_held_and_released_or_deleted_by_one_command(
    server: Server, host: testinfra.host.Host, crowd: Control, rule: Rule
) -> None:
    rule(recipients_per_content=LIMIT)
    told = _told_operator(host)
    # A newsletter below the limit passes.
    assert _sends_run(server, KAI, LIMIT - 1) == [250] * (LIMIT - 1)
    assert until(lambda: in_maildrop(server, ABE) == LIMIT - 1)
    assert _held(crowd, KAI.address) is None
    assert _sends_run(server, KAI, 2) == [250] * 2
    assert _held(crowd, KAI.address) == (2, "bulk_mail", True)
    # Other senders are not affected.
    assert _sends_run(server, LEE, LIMIT) == [250] * LIMIT
    assert _held(crowd, LEE.address) == (1, "bulk_mail", True)
    assert until(lambda: in_maildrop(server, ABE) == 2 * (LIMIT - 1))
    with submission(server, ABE) as session:
        assert answer(session, ABE.address, BABA.address, content=_mail(ABE.address, BABA.address, 1, RUN))[0] == 250
    assert until(lambda: in_maildrop(server, BABA) == 1)
    # The contact and the operator get one notice for each account.
    assert until(lambda: in_maildrop(server, BOSS) == 2)
    assert until(lambda: _told_operator(host) == told + 2)

    # From now on all mail of the account is held, through restarts too.
    host.check_output("systemctl restart valkey-server")
    restart_gate(host)
    assert _sends(server, KAI, LETTER)[0] == 250
    assert _held(crowd, KAI.address) == (3, "bulk_mail", True)

    assert "3 mails go on" in host.check_output(f"mailhosting limits release {KAI.address}")
    assert until(lambda: in_maildrop(server, ABE) == 2 * (LIMIT - 1) + 3)
    assert _held(crowd, LEE.address) == (1, "bulk_mail", True)
    assert _sends(server, KAI, LETTER)[0] == 250
    assert until(lambda: in_maildrop(server, ABE) == 2 * LIMIT + 2)

    assert "1 mails deleted" in host.check_output(f"mailhosting limits drop {LEE.address}")
    assert _sends(server, LEE, LETTER)[0] == 250
    assert _held(crowd, LEE.address) == (1, "bulk_mail", True)
    assert crowd.module("mail_limits", name=LEE.address, state="dropped")["changed"]
    assert crowd.module("mail_limits", name=LEE.address, state="released")["changed"]
    assert not crowd.module("mail_limits", name=LEE.address, state="released")["changed"]
    assert _sends(server, LEE, LETTER)[0] == 250
    assert until(lambda: in_maildrop(server, ABE) == 2 * LIMIT + 3)
    assert in_maildrop(server, BOSS) == 2
    # The command left no file that the next run would report as changed.
    assert host.check_output("find /usr/lib/mailhosting -name '*.pyc'") == ""


@pytest.mark.requirement("MV-5")
def test_a_run_is_refused_by_setting(server: Server, crowd: Control, rule: Rule) -> None:
    rule(recipients_per_content=LIMIT, action="refuse")
    assert _sends_run(server, KAI, LIMIT) == [250] * (LIMIT - 1) + [550]
    with submission(server, KAI) as session:
        assert session.docmd("MAIL", f"FROM:<{KAI.address}>") == BULK_MAIL
    assert _sends(server, LEE, RUN)[0] == 250
    assert _held(crowd, KAI.address) == (0, "bulk_mail", True)
    assert until(lambda: in_maildrop(server, ABE) == LIMIT)
    crowd.module("mail_limits", name=KAI.address, state="released")
    assert _sends(server, KAI, RUN)[0] == 250


@pytest.mark.requirement("MV-5")
def test_too_many_invalid_recipients_stop_an_account(server: Server, crowd: Control, rule: Rule) -> None:
    rule(invalid_recipients=4, action="refuse")
    with submission(server, KAI) as session:
        for number in range(4):
            session.docmd("MAIL", f"FROM:<{KAI.address}>")
            assert session.docmd("RCPT", f"TO:<nobody{number}@kita.example>")[0] == 550
            session.docmd("RSET")
        assert session.docmd("MAIL", f"FROM:<{KAI.address}>") == UNKNOWN
    assert _sends(server, LEE, LETTER)[0] == 250
    assert _held(crowd, KAI.address) == (0, "invalid_recipients", True)
    assert until(lambda: in_maildrop(server, BOSS) == 1)
    # A recipient rejected for another reason is not invalid, and a stranger is not the account.
    with incoming(server) as session:
        session.docmd("MAIL", f"FROM:<{LEE.address}>")
        for number in range(5):
            assert session.docmd("RCPT", f"TO:<nobody{number}@kita.example>")[0] == 550
    assert _sends(server, LEE, LETTER)[0] == 250


@pytest.mark.requirement("MV-5")
@pytest.mark.parametrize("sender", [KAI.address, INFO], ids=["from itself", "from an alias"])
def test_too_many_bounces_stop_an_account(
    server: Server, host: testinfra.host.Host, crowd: Control, outside: Outside, rule: Rule, sender: str
) -> None:
    rule(invalid_recipients=4)
    nobody = [f"refused@{name}.example" for name in ("one", "two", "three", "four")]
    assert _sends(server, KAI, LETTER, *nobody[:3], "somebody@else.example", sender=sender)[0] == 250
    assert until(lambda: in_maildrop(server, KAI) == 1)
    assert outside.mail_to("somebody@else.example")
    assert _held(crowd, KAI.address) is None
    assert _sends(server, KAI, LETTER, nobody[3], sender=sender)[0] == 250
    # The second bounce, and the notice.
    assert until(lambda: in_maildrop(server, KAI) == 3)
    assert _held(crowd, KAI.address) == (0, "invalid_recipients", True)
    assert until(lambda: in_maildrop(server, BOSS) == 1)
    assert _sends(server, KAI, LETTER, nobody[0], sender=sender)[0] == 250
    assert _held(crowd, KAI.address) == (1, "invalid_recipients", True)
    assert _sends(server, LEE, LETTER)[0] == 250
    # A bounce does not wait for the gate.
    host.check_output("systemctl stop mailhosting-gate@out")
    try:
        host.check_output(f"mailhosting limits release {KAI.address}")
        assert until(lambda: in_maildrop(server, KAI) == 4)
    finally:
        host.check_output("systemctl start mailhosting-gate@out")


@pytest.mark.parametrize("protocol", ["smtp", "submission"])
def test_nobody_asks_for_no_bounces(server: Server, crowd: Control, protocol: str) -> None:
    assert crowd
    for greet in ("ehlo", "helo"):
        with protocols.smtp(server, protocol) as session:
            if protocol == "submission":
                session.login(*KAI)
            getattr(session, greet)()
            session.docmd("MAIL", f"FROM:<{KAI.address}>")
            assert session.docmd("RCPT", f"TO:<{ABE.address}> NOTIFY=NEVER")[0] == 501


@pytest.mark.requirement("MV-5")
def test_a_run_that_is_received_is_held_and_all_other_mail_comes(server: Server, crowd: Control, rule: Rule) -> None:
    rule(recipients_per_content=LIMIT)
    said = _receives_run(server, KAI, LIMIT + 2)
    assert [code for code, _text in said] == [250] * (LIMIT + 2)
    assert until(lambda: in_maildrop(server, KAI) == LIMIT - 1)
    assert _receives_run(server, LEE, 1)[0][0] == 250
    assert _held(crowd, "crowd") == (4, "bulk_mail", False)
    # Other mail for the tenant, its own mail, and other tenants are not affected.
    assert handed_in(server, KAI, _mail(STRANGER, KAI.address, 1, LETTER))[0] == 250
    assert until(lambda: in_maildrop(server, KAI) == LIMIT)
    assert _sends(server, KAI, RUN)[0] == 250
    assert [code for code, _text in _receives_run(server, BABA, LIMIT + 2)] == [250] * (LIMIT + 2)
    assert until(lambda: in_maildrop(server, BABA) == LIMIT + 2)
    assert until(lambda: in_maildrop(server, BOSS) == 1)
    released = crowd.module("mail_limits", name="crowd", state="released")
    assert [hold["mails"] for hold in released["released"]] == [4]
    assert until(lambda: (in_maildrop(server, KAI), in_maildrop(server, LEE)) == (LIMIT + 3, 1))


@pytest.mark.requirement("MV-5")
def test_a_run_that_is_received_is_refused_by_setting(server: Server, rule: Rule) -> None:
    rule(recipients_per_content_received=LIMIT, action="refuse")
    said = _receives_run(server, KAI, LIMIT + 1)
    assert [code for code, _text in said] == [250] * (LIMIT - 1) + [550] * 2
    assert said[-1] == BULK_MAIL
    assert handed_in(server, KAI, _mail(STRANGER, KAI.address, 1, LETTER))[0] == 250
    # Recipients with a tenant below its limit get it.
    content = _mail(STRANGER, KAI.address, 1, RUN)
    with incoming(server) as session:
        assert answer(session, STRANGER, KAI.address, BABA.address, content=content)[0] == 250
    assert until(lambda: in_maildrop(server, BABA) == 1)


@pytest.mark.requirement("MV-5")
@pytest.mark.parametrize("sender", [STRANGER, MUTE.address, "", "root@web1.arena.example"])
def test_nobody_relays_without_a_login(server: Server, crowd: Control, sender: str) -> None:
    assert crowd
    detours = [
        "x@outside.example",
        "x%outside.example@kita.example",
        "x%outside.example",
        "x%outside.example@web1.arena.example",
        '"x@outside.example"',
        '"x@outside.example"@kita.example',
        "x@outside.example@kita.example",
        "@kita.example:x@outside.example",
        "outside.example!x",
        "outside.example!x@web1.arena.example",
        "x@[192.0.2.1]",
    ]
    with incoming(server) as session:
        for detour in detours:
            assert session.docmd("MAIL", f"FROM:<{sender}>")[0] == 250
            assert session.docmd("RCPT", f"TO:<{detour}>")[0] >= 500, detour
            session.docmd("RSET")
    for protocol in ("submission", "submissions"):
        with protocols.smtp(server, protocol) as session:
            session.docmd("MAIL", f"FROM:<{sender}>")
            assert session.docmd("RCPT", "TO:<x@outside.example>")[0] >= 500
    # A login may not use senders of others.
    with submission(server, KAI) as session:
        session.docmd("MAIL", f"FROM:<{sender or STRANGER}>")
        assert session.docmd("RCPT", "TO:<x@outside.example>")[0] >= 500


def test_what_is_held_is_in_the_queue_of_held_mail_alone(
    server: Server, host: testinfra.host.Host, crowd: Control, rule: Rule
) -> None:
    """An operator's own hold of a mail does not belong to the account."""
    rule(recipients_per_content=LIMIT)
    _sends_run(server, KAI, LIMIT)
    # A mail of the same sender, held by hand.
    host.check_output(
        "cp -p /etc/postfix/main.cf /etc/postfix/main.cf.held && "
        "postconf -e 'header_checks = static:HOLD' && postfix reload && "
        f"printf 'Subject: x\\n\\nx\\n' | sendmail -f {LEE.address} {ABE.address}"
    )

    def senders() -> list[str]:
        """Of mail on hold; the notice of the block, which has no sender, may be among it."""
        mails = map(json.loads, host.check_output("postqueue -j").splitlines())
        return sorted(mail["sender"] for mail in mails if mail["queue_name"] == "hold" and "@" in mail["sender"])

    try:
        assert until(lambda: senders() == [KAI.address, LEE.address])
        assert _held(crowd, KAI.address) == (1, "bulk_mail", True)
        host.check_output(f"mailhosting limits drop {KAI.address}")
        assert senders() == [LEE.address]
    finally:
        host.check_output("mv /etc/postfix/main.cf.held /etc/postfix/main.cf && postfix reload")
        host.check_output("postsuper -d ALL hold")
