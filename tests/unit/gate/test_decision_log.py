# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the journal of each decision, and that nobody can write it but the gate."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from mailhosting.common.address import Address
from mailhosting.common.address import parse as address
from mailhosting.common.log import MOST
from mailhosting.gate import transaction
from mailhosting.gate.bulk_mail_counts import Rule
from mailhosting.gate.context import Gate
from mailhosting.gate.decision_log import About, describe, write, write_finding
from mailhosting.gate.model import BulkMail, Destinations, LocalTarget
from mailhosting.gate.scan.findings import Finding

from .server import Server
from .test_milter import conversation
from .test_transaction import ACME, BILL, BOLT, TARO, Told, at_most, begun, fill, gate, sent, tenant, told

__all__ = ["conversation", "gate", "told"]

FIELDS = ["queue_id", "tenant", "sasl_username", "client_address", "from", "to", "decision", "code", "reason"]
FIELD = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |$)')
RUN = " ".join(f"{first}{second}ing" for first in ("sail", "walk", "read", "sing") for second in "abcdefgh").encode()


def lines(log: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """The decisions that were written; each is one line of these fields in this order."""
    found = []
    for line in log.messages:
        assert line.isprintable()
        assert line.isascii()
        assert FIELD.sub("", line) == ""
        fields = FIELD.findall(line)
        assert [name for name, _value in fields] == FIELDS
        found.append({name: json.loads(value) if value[0] == '"' else value for name, value in fields})
    return found


def only(log: pytest.LogCaptureFixture, **expected: str) -> str:
    """The one line says so; its reason."""
    (found,) = lines(log)
    named = {"queue_id": "Q", "sasl_username": "-", "client_address": "192.0.2.7", "from": "x@far.example", **expected}
    assert {name: found[name] for name in FIELDS[:-1]} == {"code": "-", **named}
    log.clear()
    return found["reason"]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


TO_TARO = {"tenant": "t1", "to": TARO.username}
OF_TARO = {"tenant": "t1", "sasl_username": TARO.username, "from": TARO.username}
BY_TARO: dict[str, Any] = {"login": TARO.username, "sender": TARO.username}


def test_what_passes_is_no_line_but_for_who_debugs(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert sent(gate, TARO.username) == "250"
    assert caplog.messages == []
    caplog.set_level(logging.DEBUG)
    assert sent(gate, TARO.username, BILL.username) == "250"
    only(caplog, tenant="-", to=f"{TARO.username} and 1 more", decision="pass")


def test_a_limit(gate: Gate, told: Told, server: Server, log: pytest.LogCaptureFixture) -> None:
    told.tenants[ACME] = tenant(ACME, receive_limits=at_most(1))
    refused = {**TO_TARO, "decision": "reject", "code": "423"}
    assert [sent(gate, TARO.username) for _mail in range(2)] == ["250", "423"]
    reason = only(log, **refused)
    assert reason == "the tenant is over a limit (receive, 1 messages in 3600 s, a pause begins, 60 s left)"
    assert sent(gate, TARO.username) == "423"
    assert only(log, **refused).startswith("the tenant is paused (receive, 1 messages in 3600 s")
    server.ask("FLUSHALL")
    told.tenants[ACME] = tenant(ACME, account_send_limits=at_most(0))
    assert sent(gate, "ken@acme.example") == "423"
    assert only(log, **{**refused, "to": "ken@acme.example"}).startswith("account 13 is over a limit (send, 0 messages")


def test_a_pool_and_a_mailbox(gate: Gate, told: Told, server: Server, log: pytest.LogCaptureFixture) -> None:
    told.tenants[ACME] = tenant(ACME, quota=1)
    told.ends[BILL.username] = Destinations((LocalTarget(BILL, BOLT, 5000),), ())
    fill(server, BILL, 5000)
    server.ask("SET", f"mh:1:total:{ACME}", 0)
    refused = {"decision": "reject", "code": "452"}
    mail = begun(gate, **BY_TARO)
    assert mail.begin() is None
    assert mail.recipient("a@far.example") is None
    assert mail.recipient(TARO.username) is not None
    assert only(log, **OF_TARO, to=TARO.username, **refused) == "the pool is full"
    assert mail.recipient(BILL.username) is not None
    assert (
        only(log, **{**OF_TARO, "tenant": "t2"}, to=BILL.username, **refused)
        == f"the mailbox of {BILL.username} is full"
    )


def test_sizes_logins_and_numbers_of_recipients(
    gate: Gate, told: Told, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    told.tenants[ACME] = tenant(ACME, max_message_size=100)
    assert sent(gate, BILL.username, TARO.username) == "552"
    reason = only(log, tenant="t1", to=f"{BILL.username} and 1 more", decision="reject", code="552")
    assert reason == "102 octets, 100 at most"
    told.may_not_send = (TARO.username,)
    assert sent(gate, BILL.username, **BY_TARO) == "550"
    assert only(log, **OF_TARO, to=BILL.username, decision="reject", code="550") == "the login may not send"
    assert sent(gate, BILL.username, login="gone@far.example") == "550"
    only(log, tenant="-", sasl_username="gone@far.example", to=BILL.username, decision="reject", code="550")
    monkeypatch.setattr(transaction, "MOST_DESTINATIONS", 1)
    assert sent(gate, BILL.username, TARO.username) == "452"
    reason = only(log, **TO_TARO, decision="reject", code="452")
    assert reason == "2 destinations, 1 at most"


@pytest.mark.parametrize("hold", [True, False])
def test_bulk_mail(gate: Gate, told: Told, log: pytest.LogCaptureFixture, hold: bool) -> None:
    told.tenants[ACME] = tenant(ACME, bulk_mail=BulkMail(Rule(2, None, 3600), None, hold))
    for _mail in range(2):
        mail = begun(gate, **BY_TARO)
        assert [mail.begin(), mail.recipient("a@far.example")] == [None, None]
        mail.body(RUN)
        mail.end()
    stopped, decided = lines(log)
    assert (stopped["decision"], stopped["reason"]) == ("block", "stops for bulk_mail: 2 of 2 recipients / 3600 s")
    assert (decided["decision"], decided["reason"]) == ("hold" if hold else "reject", "bulk_mail")
    assert decided["code"] == ("-" if hold else "550")
    named = {**OF_TARO, "queue_id": "Q", "to": "a@far.example"}
    assert [{name: line[name] for name in named} for line in (stopped, decided)] == [named] * 2
    log.clear()
    if not hold:
        assert begun(gate, **BY_TARO).begin() is not None
        assert only(log, **OF_TARO, to="-", decision="reject", code="550") == "stopped for bulk_mail"


def test_without_the_directory(gate: Gate, told: Told, log: pytest.LogCaptureFixture) -> None:
    mail = begun(gate, **BY_TARO)
    assert mail.begin() is None
    told.down = True
    mail.recipient("a@far.example")
    put_off = {"decision": "defer", "code": "451"}
    assert only(log, **OF_TARO, to="a@far.example", **put_off) == "the directory: gone"
    gate.may_log_in("192.0.2.9")
    only(log, queue_id="-", tenant="-", client_address="192.0.2.9", to="-", **put_off, **{"from": "-"})


def test_without_valkey_once_a_mail(gate: Gate, server: Server, log: pytest.LogCaptureFixture) -> None:
    with server.hung():
        assert sent(gate, TARO.username, BILL.username) == "250"
    assert only(log, tenant="-", to=TARO.username, decision="unchecked").startswith("limits not applied: Valkey")


def test_usage_that_is_not_known(gate: Gate, told: Told, log: pytest.LogCaptureFixture) -> None:
    told.ends[TARO.username] = Destinations((LocalTarget(TARO, ACME, 1),), ())
    assert sent(gate, TARO.username) == "250"
    assert only(log, **TO_TARO, decision="unchecked") == f"usage of the mailbox of {TARO.username} is not known"


@pytest.mark.parametrize("step", ["begin", "recipient", "header", "body", "end"])
def test_what_nobody_expected(
    conversation: Any, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture, step: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("a word\nINFO queue_id=Q tenant=t1")

    monkeypatch.setattr(transaction.Transaction, step, fail)
    asked = {"{daemon_name}": "smtp", "i": "4fXY"}.get
    vars(conversation)["getsymval"] = asked
    conversation.envfrom("<x@far.example>")
    conversation.envrcpt("<taro@acme.example>")
    conversation.header("Subject", " x")
    conversation.body(b"x")
    conversation.eom()
    found = lines(log)[0]
    assert (found["decision"], found["code"], found["client_address"]) == ("defer", "451", "192.0.2.7")
    assert found["queue_id"] == ("-" if step == "begin" else "4fXY")
    assert re.fullmatch(
        r"ValueError at test_decision_log.py:\d+, .*: a word\nINFO queue_id=Q tenant=t1", found["reason"]
    )
    assert log.records[0].levelname == "ERROR"


def test_what_a_bounce_begins(
    conversation: Any, told: Told, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    told.tenants[ACME] = tenant(ACME, bulk_mail=BulkMail(Rule(None, 1, 3600), None, hold=True))
    vars(conversation)["getsymval"] = {"{daemon_name}": "bounce", "i": "4fXY"}.get
    conversation.connect("localhost", "unknown", None)
    vars(conversation)["_port"] = 0
    of_bounce = {"queue_id": "4fXY", "client_address": "-", "from": "<>", "to": TARO.username}

    def bounce() -> None:
        conversation.envfrom("<>")
        conversation.envrcpt(f"<{TARO.username}>")
        conversation.header("Content-Type", ' multipart/report; boundary="b"')
        conversation.body(b"--b\r\nContent-Type: message/delivery-status\r\n\r\nA: b\r\n\r\n")
        conversation.body(b"Action: failed\r\nStatus: 5.1.1\r\n--b--\r\n")
        assert conversation.eom() == 0

    bounce()
    stopped = {"tenant": "t1", "sasl_username": TARO.username, "decision": "block", **of_bounce}
    assert only(log, **stopped) == "stops for invalid_recipients: 1 of 1 recipients / 3600 s"
    told.down = True
    bounce()
    reason = only(log, tenant="-", decision="unchecked", **of_bounce)
    assert reason == "invalid recipients not counted: the directory: gone"
    monkeypatch.setattr(told, "owner", lambda _whose: 1 / 0)
    bounce()
    assert only(log, tenant="-", decision="unchecked", **of_bounce).startswith(
        "ZeroDivisionError at test_decision_log.py"
    )


FORGED = [
    '" decision=hold reason="',
    "a b",
    "a\r\nINFO queue_id=Q2 tenant=other",
    "back\\slash\\",
    "=",
    "\u2028\x1b[2J\x00\x7f\x85",
    "\udcff",
    "\u592a\u90ce@acme.example",
    "tenant=other",
    "-",
]


@pytest.mark.parametrize("said", FORGED)
def test_nobody_forges_a_field(log: pytest.LogCaptureFixture, said: str) -> None:
    write(
        "reject",
        said,
        About(queue_id=said, account=said, client=said, sender=said, to=said),
        tenant=tenant(1),
        code="5",
    )
    (found,) = lines(log)
    quoted = {name: value for name, value in found.items() if name not in ("tenant", "decision", "code")}
    assert set(quoted.values()) == {said}
    assert (found["tenant"], found["decision"]) == ("t1", "reject")


@pytest.mark.parametrize("said", FORGED[:-1])
def test_no_address_forges_a_field(gate: Gate, told: Told, log: pytest.LogCaptureFixture, said: str) -> None:
    told.tenants[ACME] = tenant(ACME, receive_limits=at_most(0))
    ours = f'<"{said.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"@acme.example>'
    told.ends.clear()
    told.ends = {"@".join(address(ours) or Address("", "")): Destinations((LocalTarget(TARO, ACME, 0),), ())}
    mail = begun(gate, sender=ours, login=None, client="192.0.2.7")
    reply = mail.recipient(ours)
    assert reply is not None
    (found,) = lines(log)
    assert (found["queue_id"], found["tenant"], found["decision"], found["code"]) == ("Q", "t1", "reject", "423")


def test_a_long_value_is_cut(log: pytest.LogCaptureFixture) -> None:
    write("reject", "r" * 5000, About(to="t" * 5000))
    (found,) = lines(log)
    assert found["to"] == "t" * MOST + "..."
    assert found["reason"] == "r" * MOST + "..."


def test_an_error_is_told_from_where_it_was_raised() -> None:
    with pytest.raises(json.JSONDecodeError) as raised:
        json.loads("{")
    told = describe(raised.value)
    assert re.fullmatch(r"JSONDecodeError at decoder.py:\d+, .*test_decision_log.py:\d+: Expecting.*", told)


FOUND = [*FIELDS[:6], "found", "name", "part", "member", "policy", "quarantine"]


@pytest.mark.parametrize("said", FORGED)
def test_a_finding_is_a_line(log: pytest.LogCaptureFixture, said: str) -> None:
    about = About("4fXY", None, "192.0.2.7", "x@far.example", TARO.username)
    write_finding(Finding("virus", said, 2, said), about, tenant=tenant(1), policy="strip", quarantine=17)
    write_finding(Finding("limit", "depth", 0), about, tenant=tenant(2), policy="reject")
    found = [dict(FIELD.findall(line)) for line in log.messages]
    assert [list(line) for line in found] == [FOUND, FOUND]
    values = [{name: json.loads(value) if value[0] == '"' else value for name, value in line.items()} for line in found]
    begin = {"queue_id": "4fXY", "sasl_username": "-", "client_address": "192.0.2.7", "from": "x@far.example"}
    begin["to"] = TARO.username
    more = {"found": "virus", "name": said, "part": "2", "member": said, "policy": "strip", "quarantine": "17"}
    assert values[0] == {**begin, "tenant": "t1", **more}
    more = {"found": "limit", "name": "depth", "part": "0", "member": "-", "policy": "reject", "quarantine": "-"}
    assert values[1] == {**begin, "tenant": "t2", **more}
