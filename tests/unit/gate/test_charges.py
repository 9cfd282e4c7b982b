# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a mail costs how much, and where it needs room."""

from __future__ import annotations

from typing import Any

import pytest
from mailhosting.gate.charges import MOST_MAILBOX_CHECKS, HostLimits, Mail, charges, daily_counts, spaces
from mailhosting.gate.model import (
    HOST,
    DailyCount,
    Destinations,
    Direction,
    ExternalTarget,
    Limit,
    LimitSubject,
    LocalTarget,
    Mailbox,
    Owner,
    Scope,
    SpaceCheck,
    Tenant,
)

ACME, BOLT = 1, 2
TARO = Owner(11, ACME, "taro@acme.example", may_send=True)
LIMITS = tuple((Limit("messages", most, 3600, None, ()),) for most in range(6))
HOST_LIMITS: HostLimits = {"send": LIMITS[4], "receive": LIMITS[5]}
OUTSIDE = Destinations((), (ExternalTarget(None, None),))


def tenant(number: int, quota: int | None = None) -> Tenant:
    send, receive, account_send = LIMITS[1:4]
    return Tenant(number, f"t{number}", None, quota, send, receive, account_send, bulk_mail=None)


TENANTS = {number: tenant(number, 1000 * number) for number in (ACME, BOLT)}


def boxes(*numbers: int, quota: int = 0) -> tuple[LocalTarget, ...]:
    """Mailboxes whose first digit is their tenant's."""
    return tuple(LocalTarget(Mailbox(number, f"u{number}"), int(str(number)[0]), quota) for number in numbers)


def kept(*numbers: int) -> Destinations:
    return Destinations(boxes(*numbers), ())


def forward(*numbers: int) -> Destinations:
    return Destinations((), tuple(ExternalTarget(n, int(str(n)[0])) for n in numbers))


@pytest.mark.parametrize(
    ("owner", "recipients", "expected"),
    [
        (TARO, [OUTSIDE], {"tenant 1 send": 1, "account 11 send": 1, "host 0 send": 1}),
        (TARO, [], {"tenant 1 send": 1, "account 11 send": 1, "host 0 send": 1}),
        (
            TARO,
            [OUTSIDE, kept(12), kept(21, 22)],
            {"tenant 1 send": 3, "account 11 send": 3, "tenant 1 receive": 1, "tenant 2 receive": 2}
            | {"host 0 send": 3, "host 0 receive": 3},
        ),
        (None, [kept(12)], {"tenant 1 receive": 1, "host 0 receive": 1}),
        (None, [OUTSIDE, kept(12)], {"tenant 1 receive": 1, "host 0 send": 1, "host 0 receive": 1}),
        (
            TARO,
            [forward(13, 23)],
            {"tenant 1 send": 2, "account 11 send": 1, "account 13 send": 1, "tenant 2 send": 1, "account 23 send": 1}
            | {"host 0 send": 2},
        ),
        (None, [], {}),
    ],
)
def test_whom_a_mail_costs_how_many_recipients(
    owner: Owner | None, recipients: list[Destinations], expected: dict[str, int]
) -> None:
    found = charges(Mail(owner, recipients, TENANTS), HOST_LIMITS)
    names = [f"{charge.subject.scope} {charge.subject.id} {charge.subject.direction}" for charge in found]
    assert dict(zip(names, (charge.recipients for charge in found), strict=True)) == expected
    assert len(found) == len(expected)
    assert {charge.messages for charge in found} <= {1}


@pytest.mark.parametrize(
    ("scope", "number", "direction", "limits"),
    [
        ("tenant", ACME, "send", LIMITS[1]),
        ("tenant", BOLT, "receive", LIMITS[2]),
        ("account", 11, "send", LIMITS[3]),
        ("host", HOST, "send", LIMITS[4]),
        ("host", HOST, "receive", LIMITS[5]),
    ],
)
def test_each_has_its_own_limits(scope: Scope, number: int, direction: Direction, limits: tuple[Limit, ...]) -> None:
    subject = LimitSubject(scope, number, direction)
    found = {charge.subject: charge.limits for charge in charges(Mail(TARO, [kept(21)], TENANTS), HOST_LIMITS)}
    assert found[subject] == limits


def test_of_a_tenant_that_is_gone_nothing_is_limited() -> None:
    mail = Mail(TARO, [kept(12)], {})
    found = charges(mail, HOST_LIMITS)
    assert [charge.limits for charge in found if charge.subject.scope != "host"] == [(), ()]
    assert spaces(mail, None, 10) == []
    assert mail.tenant_of(LimitSubject("tenant", ACME, "send")) is None


def test_a_pool_needs_room_for_every_copy_and_the_latest_recipient_asks_for_its_own() -> None:
    latest = Destinations(boxes(12, 13, quota=50), ())
    mail = Mail(None, [kept(11), kept(21), latest], TENANTS)
    pools = [SpaceCheck("tenant", ACME, 1000, 30), SpaceCheck("tenant", BOLT, 2000, 10)]
    found = [SpaceCheck("account", box.mailbox.account_id, 50, 10, box.mailbox, free=1) for box in latest.local]
    assert spaces(mail, latest, 10) == [*found, pools[0]]
    assert spaces(mail, None, 10) == [*found, *pools]
    assert spaces(mail, kept(21), 10) == pools[1:]


def test_of_many_mailboxes_only_the_pool_is_looked_at() -> None:
    crowd = Destinations(tuple(LocalTarget(Mailbox(n, f"u{n}"), ACME, 50) for n in range(MOST_MAILBOX_CHECKS + 1)), ())
    assert spaces(Mail(None, [crowd], TENANTS), crowd, 1) == [SpaceCheck("tenant", ACME, 1000, MOST_MAILBOX_CHECKS + 1)]


def test_what_is_counted_of_a_day() -> None:
    sent: dict[str, Any] = {"sent_messages": 1, "sent_recipients": 2, "sent_bytes": 100}
    received = {"received_messages": 1, "received_recipients": 2, "received_bytes": 200}
    assert daily_counts(Mail(TARO, [OUTSIDE, kept(21, 22)], TENANTS), 100) == [
        DailyCount(ACME, sent),
        DailyCount(BOLT, received),
    ]


def test_whose_limit_mailbox_or_pool_it_is() -> None:
    mail = Mail(TARO, [forward(23), kept(22)], TENANTS)
    subjects = [
        LimitSubject("tenant", BOLT, "send"),
        LimitSubject("account", 11, "send"),
        LimitSubject("account", 23, "send"),
    ]
    assert [mail.tenant_of(subject) for subject in subjects] == [TENANTS[BOLT], TENANTS[ACME], TENANTS[BOLT]]
    found = [SpaceCheck("tenant", BOLT, 1, 1), SpaceCheck("account", 22, 1, 1, Mailbox(22, "u22"))]
    assert [mail.tenant_of(space) for space in found] == [TENANTS[BOLT]] * 2
    assert mail.tenant_of(LimitSubject("host", HOST, "send")) is None
    assert mail.tenant_of(LimitSubject("account", 99, "send")) is None
