# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose mail stops for its content or its recipients, what is counted, and what bounces say; with a real Valkey."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from mailhosting.common.address import parse as address
from mailhosting.common.valkey import Valkey
from mailhosting.gate.bounces import Bounce, remember_sender
from mailhosting.gate.bulk_mail_counts import Rule
from mailhosting.gate.checks import bulk_mail
from mailhosting.gate.context import Gate
from mailhosting.gate.counters import Counters
from mailhosting.gate.directory import Directory
from mailhosting.gate.fingerprint import Reader
from mailhosting.gate.model import BulkMail, Destinations, ExternalTarget, LocalTarget, Owner
from mailhosting.gate.transaction import Outcome

from .server import Server
from .test_transaction import ACME, BILL, BOLT, HANAKO, TARO, TEXTS, Told, at_most, begun, tenant

HOLD = BulkMail(Rule(5, 3, 3600), Rule(4, None, 3600), hold=True)
REFUSE = replace(HOLD, hold=False)
RUN = " ".join(f"{first}{second}ing" for first in ("sail", "walk", "read", "sing") for second in "abcdefgh").encode()
LETTER = " ".join(f"{first}{second}ed" for first in ("sail", "walk", "read", "call") for second in "stuvwxyz").encode()
FAILED = "Final-Recipient: rfc822; {}@far.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no\n"


@pytest.fixture
def told() -> Told:
    return Told(tenants={ACME: tenant(ACME, bulk_mail=HOLD), BOLT: tenant(BOLT)})


@pytest.fixture
def gate(told: Told, valkey: Valkey) -> Gate:
    directory = cast("Directory", told)
    return Gate(directory, valkey, Counters(valkey, told.mailboxes), TEXTS, {"send": (), "receive": ()})


def handed(gate: Gate, *recipients: str, text: bytes = RUN, **who: Any) -> Outcome:
    """How a mail ends, or what was said before."""
    mail = begun(gate, **who)
    for reply in (mail.begin(), *(mail.recipient(to) for to in recipients)):
        if reply:
            return Outcome(reply)
    # With what every mail has, so that the gate need add nothing.
    for name, value in (("Date", " now"), ("From", " x"), ("Message-ID", " <x>"), ("Content-Type", " text/plain")):
        mail.header(name, value, len(name) + 1 + len(value) + 2)
    mail.body(text)
    return mail.end()


def sends(gate: Gate, *recipients: str, **how: Any) -> Outcome:
    return handed(gate, *recipients or ("a@far.example",), **{"login": TARO.username, "sender": TARO.username, **how})


def counted(server: Server) -> int:
    """Messages that ACME was counted to have sent."""
    (key,) = cast("list[bytes]", server.ask("KEYS", "mh:1:day:*:1")) or [b"none"]
    return int(cast("bytes", server.ask("HGET", key.decode(), "sent_messages")) or 0)


def test_from_the_mail_that_is_too_much_all_of_the_account_is_held(gate: Gate, told: Told, server: Server) -> None:
    assert [sends(gate).hold for _mail in range(6)] == [None] * 4 + ["bulk_mail"] * 2
    assert sends(gate, text=LETTER).hold == "bulk_mail"
    assert sends(gate, login=HANAKO.username, sender=HANAKO.username) == Outcome()
    # It was accepted, and it is known whose it is.
    assert counted(server) == 8
    assert [mail[:4] for mail in told.kept] == [("Q", TARO.account_id, None, "bulk_mail")] * 3
    (notice,) = told.notices
    assert notice[1]["count"] == 5
    assert notice[1]["until"] is None


def test_it_stays_held_when_valkey_has_forgotten(gate: Gate, server: Server) -> None:
    for _mail in range(5):
        sends(gate)
    server.ask("FLUSHALL")
    assert sends(gate, text=LETTER).hold == "bulk_mail"
    with server.hung():
        assert sends(gate, text=LETTER).hold == "bulk_mail"


def test_refused_mail_counts_nowhere(gate: Gate, told: Told, server: Server) -> None:
    told.tenants[ACME] = tenant(ACME, bulk_mail=REFUSE, send_limits=at_most(7))
    assert [sends(gate).reply for _mail in range(5)] == [None] * 4 + [TEXTS.bulk_mail]
    assert begun(gate, login=TARO.username).begin() == TEXTS.bulk_mail
    assert counted(server) == 4
    hanako = {"login": HANAKO.username, "sender": HANAKO.username}
    assert [sends(gate, text=LETTER, **hanako).reply for _mail in range(4)] == [None] * 3 + [TEXTS.limit]
    assert told.kept == []


def test_mail_that_a_limit_refuses_is_no_run(gate: Gate, told: Told, server: Server) -> None:
    told.tenants[ACME] = tenant(ACME, bulk_mail=HOLD, send_limits=at_most(2))
    mails = [begun(gate, login=TARO.username, sender=TARO.username) for _mail in range(9)]
    for mail in mails:
        assert [mail.begin(), mail.recipient("a@far.example")] == [None, None]
        mail.header("Content-Type", " text/plain", 26)
        mail.body(RUN)
    assert [mail.end().reply for mail in mails] == [None] * 2 + [TEXTS.limit] * 7
    assert told.held == {}
    (count,) = cast("list[bytes]", server.ask("HVALS", f"mh:1:mass:account:{TARO.account_id}"))
    assert count == b"2"


def test_a_begun_hold_is_taken_back_with_its_mail(gate: Gate, told: Told) -> None:
    for _mail in range(4):
        sends(gate)
    told.tenants[ACME] = tenant(ACME, bulk_mail=HOLD, max_message_size=10_000)
    mail = begun(gate, login=TARO.username, sender=TARO.username)
    assert [mail.begin(), mail.recipient("a@far.example")] == [None, None]
    mail.header("Content-Type", " text/plain", 26)
    mail.body(RUN)
    told.tenants[ACME] = tenant(ACME, bulk_mail=HOLD, send_limits=at_most(0))
    assert mail.end().reply == TEXTS.limit
    assert told.held == {}
    told.tenants[ACME] = tenant(ACME, bulk_mail=HOLD)
    assert sends(gate).hold == "bulk_mail"
    assert len(told.notices) == 1


def test_without_the_directory_nothing_is_held_that_nobody_knows_of(gate: Gate, told: Told) -> None:
    for _mail in range(4):
        sends(gate)
    mail = begun(gate, login=TARO.username, sender=TARO.username)
    assert [mail.begin(), mail.recipient("a@far.example")] == [None, None]
    mail.body(RUN)
    told.down = True
    outcome = mail.end()
    assert outcome.reply is not None
    assert outcome.reply.code == "451"
    assert outcome.hold is None


def test_what_a_tenant_receives_too_much_of_is_one_content(gate: Gate, told: Told) -> None:
    assert [handed(gate, TARO.username).hold for _mail in range(5)] == [None] * 3 + ["bulk_mail"] * 2
    assert handed(gate, HANAKO.username).hold == "bulk_mail"
    assert handed(gate, HANAKO.username, text=LETTER) == Outcome()
    assert handed(gate, BILL.username) == Outcome()
    assert sends(gate, text=LETTER) == Outcome()
    assert [mail[:4] for mail in told.kept] == [("Q", None, ACME, "bulk_mail")] * 3
    (notice,) = told.notices
    assert notice[:3] == ("bulk_mail", ACME, None)
    assert notice[3]["direction"] == "receive"
    assert notice[3]["until"] is not None
    assert told.held == {}


def test_mail_to_others_too_passes(gate: Gate, told: Told) -> None:
    for _mail in range(4):
        handed(gate, TARO.username)
    assert handed(gate, TARO.username, BILL.username) == Outcome()
    told.tenants[BOLT] = tenant(BOLT, bulk_mail=REFUSE)
    for _mail in range(3):
        assert handed(gate, TARO.username, BILL.username) == Outcome()
    # Too much for both: it cannot wait for two decisions.
    assert handed(gate, TARO.username, BILL.username).reply == TEXTS.bulk_mail


def test_too_much_begins_with_a_mail_that_stops(gate: Gate, told: Told) -> None:
    """Nobody would be told of it otherwise."""
    for _mail in range(3):
        handed(gate, TARO.username)
    for _mail in range(2):
        assert handed(gate, TARO.username, BILL.username) == Outcome()
    assert told.notices == []
    assert handed(gate, TARO.username).hold == "bulk_mail"
    assert len(told.notices) == 1
    assert handed(gate, TARO.username, BILL.username) == Outcome()


def test_all_of_a_tenant_is_one_recipient(gate: Gate, told: Told) -> None:
    told.ends["all@acme.example"] = Destinations((LocalTarget(TARO, ACME, 0), LocalTarget(HANAKO, ACME, 0)), ())
    assert [handed(gate, "all@acme.example").hold for _mail in range(4)] == [None] * 3 + ["bulk_mail"]


def test_what_is_received_is_refused_by_setting(gate: Gate, told: Told, server: Server) -> None:
    told.tenants[ACME] = tenant(ACME, bulk_mail=REFUSE)
    assert [handed(gate, TARO.username).reply for _mail in range(4)] == [None] * 3 + [TEXTS.bulk_mail]
    assert handed(gate, TARO.username, text=LETTER) == Outcome()
    (key,) = cast("list[bytes]", server.ask("KEYS", "mh:1:day:*:1"))
    assert server.ask("HGET", key.decode(), "received_messages") == b"4"


def run_of(server: Server, whose: str) -> dict[bytes, bytes]:
    """What is counted of a run, by content."""
    pairs = cast("list[bytes]", server.ask("HGETALL", f"mh:1:mass:{whose}"))
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def test_what_its_receiver_refuses_is_no_run_of_its_sender(gate: Gate, told: Told, server: Server) -> None:
    told.tenants = {ACME: tenant(ACME, bulk_mail=HOLD), BOLT: tenant(BOLT, bulk_mail=REFUSE)}
    assert [sends(gate, BILL.username).reply for _mail in range(9)] == [None] * 3 + [TEXTS.bulk_mail] * 6
    assert list(run_of(server, f"account:{TARO.account_id}").values()) == [b"3"]
    assert told.held == {}
    # What BOLT receives too much of stays so, and its people were told once.
    assert sorted(run_of(server, f"tenant:{BOLT}").values()) == [b"1", b"4"]
    assert len(told.notices) == 1


def test_a_tenants_own_mail_is_none_that_it_receives(gate: Gate) -> None:
    outcomes = [sends(gate, HANAKO.username, login=who, sender=who) for who in [TARO.username, HANAKO.username] * 4]
    assert outcomes == [Outcome()] * 8


def refused_recipients(gate: Gate, count: int, **who: Any) -> None:
    mail = begun(gate, **{"login": TARO.username, "sender": TARO.username, **who})
    mail.begin()
    for _recipient in range(count):
        mail.invalid_recipient()


def test_invalid_recipients_stop_an_account(gate: Gate, told: Told) -> None:
    refused_recipients(gate, 2)
    assert sends(gate, text=LETTER) == Outcome()
    refused_recipients(gate, 1)
    assert told.held == {TARO.account_id: "invalid_recipients"}
    assert sends(gate, text=LETTER).hold == "invalid_recipients"
    assert sends(gate, login=HANAKO.username, sender=HANAKO.username) == Outcome()
    told.tenants[ACME] = tenant(ACME, bulk_mail=REFUSE)
    assert sends(gate).reply == TEXTS.invalid_recipients


def test_the_mail_that_has_them_stops_too(gate: Gate) -> None:
    mail = begun(gate, login=TARO.username, sender=TARO.username)
    assert [mail.begin(), mail.recipient("a@far.example")] == [None, None]
    for _recipient in range(3):
        mail.invalid_recipient()
    mail.body(b"short")
    assert mail.end().hold == "invalid_recipients"


def test_a_stranger_with_our_sender_stops_nobody(gate: Gate, told: Told) -> None:
    refused_recipients(gate, 9, login=None)
    assert told.held == {}


def test_who_relays_is_charged_with_what_was_refused_before(gate: Gate, told: Told, server: Server) -> None:
    told.logins = [TARO.username]
    server.ask("SET", f"mh:1:login:192.0.2.7/{TARO.username}", 1)
    told.tenants[ACME] = tenant(ACME, bulk_mail=REFUSE)
    mail = begun(gate, sender=TARO.username)
    for _recipient in range(3):
        mail.invalid_recipient()
    assert mail.recipient("a@far.example") == TEXTS.invalid_recipients


def bounced(gate: Gate, to: str, count: int, queue_id: str = "Q1") -> None:
    report = Bounce(gate.directory, gate.valkey)
    report.recipient(address(to))
    report.header("Content-Type", ' multipart/report; report-type=delivery-status; boundary="b"', 80)
    report.body(b"--b\r\n\r\nI'm sorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n")
    blocks = [f"Reporting-MTA: dns; mx\nX-Postfix-Queue-ID: {queue_id}\n", *(FAILED.format(n) for n in range(count))]
    report.body("\n".join(blocks).replace("\n", "\r\n").encode() + b"\r\n--b--\r\n")
    report.end()


def test_bounces_stop_whoever_sent(gate: Gate, told: Told) -> None:
    bounced(gate, TARO.username, 2)
    assert told.held == {}
    bounced(gate, HANAKO.username, 2)
    bounced(gate, TARO.username, 1)
    assert told.held == {TARO.account_id: "invalid_recipients"}
    assert told.notices[0][1]["account"] == TARO.username
    # Of somebody elsewhere, whose forward it was.
    bounced(gate, "x@far.example", 9)
    bounced(gate, BILL.username, 9)
    assert told.held == {TARO.account_id: "invalid_recipients"}


def test_mail_from_an_alias_is_its_senders(gate: Gate, told: Told) -> None:
    told.ends["sales@acme.example"] = Destinations((), (ExternalTarget(None, ACME),))
    sends(gate, sender="sales@acme.example", queue_id="Q7")
    bounced(gate, "sales@acme.example", 3, queue_id="Q8")
    assert told.held == {}
    bounced(gate, "sales@acme.example", 3, queue_id="Q7")
    assert told.held == {TARO.account_id: "invalid_recipients"}


def test_a_bounce_is_never_stopped(gate: Gate, told: Told, server: Server) -> None:
    told.down = True
    bounced(gate, TARO.username, 3)
    told.down = False
    with server.hung():
        bounced(gate, TARO.username, 3)
        remember_sender(
            gate.valkey, "Q9", Owner(TARO.account_id, ACME, TARO.username, True), address("sales@acme.example")
        )
    assert told.held == {}


def test_mail_that_no_rule_counts_is_not_read(gate: Gate, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Reader] = []

    class Noted(Reader):
        def __init__(self) -> None:
            super().__init__()
            read.append(self)

    monkeypatch.setattr(bulk_mail, "Reader", Noted)
    told.tenants[ACME] = tenant(ACME, bulk_mail=replace(HOLD, received=None))
    assert [handed(gate, TARO.username), handed(gate, BILL.username)] == [Outcome(), Outcome()]
    assert sends(gate, HANAKO.username, login=BILL.username, sender=BILL.username) == Outcome()
    assert read == []
    sends(gate, BILL.username)
    assert len(read) == 1
    told.tenants[ACME] = tenant(ACME, bulk_mail=HOLD)
    handed(gate, BILL.username, TARO.username)
    assert len(read) == 2
