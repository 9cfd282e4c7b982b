# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check hears of a mail and when, and what becomes of its verdicts; with the usual checks after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from mailhosting.common.errors import DirectoryError
from mailhosting.gate.checks.base import (
    PASS,
    AddHeader,
    Check,
    ClearSender,
    ContentCheck,
    Discard,
    Hold,
    Modify,
    Pass,
    Reject,
    Verdict,
)
from mailhosting.gate.checks.bulk_mail import BulkMail
from mailhosting.gate.checks.limits import Limits
from mailhosting.gate.checks.message_size import MessageSize
from mailhosting.gate.checks.order import IN_ORDER
from mailhosting.gate.context import Gate
from mailhosting.gate.model import TRY_LATER, Destinations
from mailhosting.gate.transaction import Outcome

from .server import Server
from .test_bulk_mail import counted
from .test_transaction import ACME, BILL, BOLT, TARO, TEXTS, Told, at_most, begun, gate, tenant, told

__all__ = ["gate", "told"]


class Reading(ContentCheck):
    """A check that remembers what it hears."""

    verdict: ClassVar[Verdict] = PASS
    heard: ClassVar[list[Any]]

    def sender(self) -> Pass:
        self.heard.append("MAIL")
        return PASS

    def recipient(self, latest: Destinations) -> Pass:
        self.heard.append([tenant.id for tenant in self.mail.tenants(latest)])
        return PASS

    def header(self, name: str, value: str) -> None:
        self.heard.append((name, value))

    def body(self, chunk: bytes) -> None:
        self.heard.append(chunk)

    def end(self) -> Verdict:
        self.heard.append([[tenant.id for tenant in each.tenants] for each in self.mail.recipients])
        return self.verdict

    def accepted(self) -> None:
        self.heard.append("accepted")

    def rejected(self) -> None:
        self.heard.append("rejected")


#: Puts a check with this verdict before another, or before all; what it hears.
Put = Callable[..., list[Any]]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    order = list(IN_ORDER)
    monkeypatch.setattr("mailhosting.gate.checks.order.IN_ORDER", order)

    def add(verdict: Verdict = PASS, before: type[Check] | None = None, **methods: Any) -> list[Any]:
        check: Any = type("Put", (Reading,), {"verdict": verdict, "heard": [], **methods})
        order.insert(order.index(before) if before else 0, check)
        heard: list[Any] = check.heard
        return heard

    return add


def passed(gate: Gate) -> Outcome:
    """How a mail ends that an account sends to BOLT and elsewhere."""
    mail = begun(gate, login=TARO.username, sender=TARO.username)
    said = [mail.begin(), mail.recipient(BILL.username), mail.recipient("a@far.example")]
    assert said == [None] * 3
    mail.header("Subject", " x", 12)
    mail.body(b"a")
    mail.body(b"b")
    return mail.end()


READ: list[Any] = ["MAIL", [ACME, BOLT], [ACME], ("Subject", " x"), b"a", b"b", [[BOLT], []]]


def test_size_is_compared_before_content_is_and_what_counts_mail_comes_last() -> None:
    order = list(IN_ORDER)
    assert order.index(MessageSize) < order.index(BulkMail) < order.index(Limits) == len(order) - 1


def test_a_check_hears_a_mail_before_it_is_counted(gate: Gate, told: Told, server: Server, put: Put) -> None:
    reject = Reject(TEXTS.bulk_mail, "bulk_mail", told.tenants[ACME])
    second = put(reject)
    first = put()
    assert passed(gate) == Outcome(TEXTS.bulk_mail)
    assert first == second == [*READ, "rejected"]
    assert server.ask("KEYS", "mh:1:*") == [b"mh:1:usage:epoch"]


def test_a_held_mail_is_counted(gate: Gate, told: Told, server: Server, put: Put) -> None:
    heard = put(Hold("bulk_mail", told.tenants[ACME]))
    assert passed(gate).hold == "bulk_mail"
    assert heard == [*READ, "accepted"]
    assert counted(server) == 1


def test_a_discarded_mail_is_taken_and_counted_by_none_of_the_later_checks(
    gate: Gate, told: Told, server: Server, put: Put
) -> None:
    later = put()
    earlier = put(Discard("virus", told.tenants[ACME]))
    first = put(Modify((ClearSender(),)))
    assert passed(gate) == Outcome(discard=True)
    assert later == READ[:-1]
    assert earlier == first == [*READ, "accepted"]
    assert server.ask("KEYS", "mh:1:*") == [b"mh:1:usage:epoch"]


def test_the_checks_after_one_that_rejects_do_not_hear_of_the_end(gate: Gate, put: Put) -> None:
    later = put(Reject(TEXTS.full, "full"))
    put(Reject(TEXTS.bulk_mail, "bulk_mail"))
    assert passed(gate) == Outcome(TEXTS.bulk_mail)
    assert later == [*READ[:-1], "rejected"]


def test_what_is_rejected_for_its_size_no_check_of_content_has_to_judge(gate: Gate, told: Told, put: Put) -> None:
    told.tenants[BOLT] = tenant(BOLT, max_message_size=10)
    heard = put(before=BulkMail)
    assert passed(gate) == Outcome(TEXTS.message_size)
    assert heard == [*READ[:-1], "rejected"]


def test_a_check_hears_of_a_mail_that_another_rejects(gate: Gate, told: Told, put: Put) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(1))
    heard = put()
    mails = [begun(gate, login=TARO.username) for _mail in range(2)]
    for mail in mails:
        assert [mail.begin(), mail.recipient("a@far.example")] == [None, None]
    assert [mail.end().reply for mail in mails] == [None, TEXTS.limit]
    assert heard[-4:] == [[[]], "accepted", [[]], "rejected"]


def test_a_hold_lets_later_checks_decide_and_the_first_one_says_why(gate: Gate, told: Told, put: Put) -> None:
    tenant = told.tenants[ACME]
    put(Hold("second", tenant))
    put(Hold("first", tenant))
    assert passed(gate).hold == "first"
    heard = put(Reject(TEXTS.full, "full"), before=Limits)
    assert passed(gate) == Outcome(TEXTS.full)
    assert heard == [*READ, "rejected"]


def test_all_changes_are_made_in_their_order_of_a_mail_that_is_taken(gate: Gate, put: Put) -> None:
    second, first = AddHeader("X-Second", "2"), AddHeader("X-First", "1")
    put(Modify((second,)))
    put(Modify((ClearSender(), first)))
    # The gate adds what is missing from the mail.
    assert passed(gate).actions[:3] == (ClearSender(), first, second)
    put(Reject(TEXTS.full, "full"), before=Limits)
    assert passed(gate) == Outcome(TEXTS.full)


def test_a_mail_is_deferred_that_nobody_can_remember(gate: Gate, put: Put) -> None:
    def fail(_check: Reading) -> None:
        raise DirectoryError("the directory: gone")

    heard = put(accepted=fail)
    assert passed(gate) == Outcome(TRY_LATER)
    assert heard == [*READ, "rejected"]
