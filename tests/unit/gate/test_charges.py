# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a mail costs how much, and where it needs space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from mailhosting.gate.charges import (
    HEADER_ALLOWANCE_BYTES,
    MOST_MAILBOX_CHECKS,
    Assessment,
    HostLimits,
    assess,
    rejected,
)
from mailhosting.gate.mail import Mail
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
LIMITS = tuple((Limit("messages", most, 3600, None, ()),) for most in range(6))
HOST_LIMITS: HostLimits = {"send": LIMITS[4], "receive": LIMITS[5]}
OUTSIDE = Destinations((), (ExternalTarget(None, None),))


def tenant(number: int, quota: int | None = None) -> Tenant:
    send, receive, account_send = LIMITS[1:4]
    return Tenant(number, f"t{number}", None, quota, send, receive, account_send, bulk_mail=None, virus=None)


TENANTS = {number: tenant(number, 1000 * number) for number in (ACME, BOLT)}


def boxes(*numbers: int, quota: int = 0) -> tuple[LocalTarget, ...]:
    """Mailboxes whose first digit is their tenant's."""
    return tuple(LocalTarget(Mailbox(number, f"u{number}"), int(str(number)[0]), quota) for number in numbers)


def tenants_of(numbers: Sequence[int]) -> tuple[Tenant, ...]:
    return tuple(TENANTS[number] for number in sorted({int(str(number)[0]) for number in numbers}))


def kept(*numbers: int) -> Destinations:
    return Destinations(boxes(*numbers), (), tenants_of(numbers))


def forward(*numbers: int) -> Destinations:
    return Destinations((), tuple(ExternalTarget(n, int(str(n)[0])) for n in numbers), tenants_of(numbers))


TARO = Owner(11, ACME, "taro@acme.example", may_send=True, tenant=TENANTS[ACME])


def assessed(
    owner: Owner | None, recipients: list[Destinations], latest: Destinations | None = None, size: int = 0
) -> Assessment:
    """A mail of `size` octets, declared or come."""
    mail = Mail("Q", "192.0.2.7", "smtp", None, None, size, owner=owner, recipients=recipients, size=size)
    return assess(mail, HOST_LIMITS, latest)


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
    found = assessed(owner, recipients).charges
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
    found = {charge.subject: charge.limits for charge in assessed(TARO, [kept(21)]).charges}
    assert found[subject] == limits


def test_of_a_tenant_that_is_gone_nothing_is_limited() -> None:
    gone = replace(kept(12), tenants=())
    found = assessed(replace(TARO, tenant=None), [gone])
    assert [charge.limits for charge in found.charges if charge.subject.scope != "host"] == [(), ()]
    assert found.spaces == []
    assert found.tenant_of(LimitSubject("tenant", ACME, "send")) is None
    assert rejected(replace(TARO, tenant=None), gone) == []


def test_a_pool_needs_space_for_every_copy_and_the_latest_recipient_asks_for_its_own() -> None:
    latest = replace(kept(12, 13), local=boxes(12, 13, quota=50))
    needed = 10 + HEADER_ALLOWANCE_BYTES
    pools = [SpaceCheck("tenant", ACME, 1000, 3 * needed), SpaceCheck("tenant", BOLT, 2000, needed)]
    found = [SpaceCheck("account", box.mailbox.account_id, 50, needed, box.mailbox, free=1) for box in latest.local]
    assert assessed(None, [kept(11), kept(21)], latest, 10).spaces == [*found, pools[0]]
    assert assessed(None, [kept(11), kept(21), latest], None, 10).spaces == [*found, *pools]
    assert assessed(None, [kept(11), latest], kept(21), 10).spaces == pools[1:]


def test_what_is_declared_is_compared_until_the_mail_has_come() -> None:
    mail = Mail("Q", "192.0.2.7", "smtp", None, None, 100, recipients=[kept(11)], size=200)
    (at_recipient,) = assess(mail, HOST_LIMITS, kept(21)).spaces
    assert at_recipient.needed == 100 + HEADER_ALLOWANCE_BYTES
    (at_end,) = assess(mail, HOST_LIMITS).spaces
    assert at_end.needed == 200 + HEADER_ALLOWANCE_BYTES


def test_of_many_mailboxes_only_the_pool_is_compared() -> None:
    many = tuple(LocalTarget(Mailbox(n, f"u{n}"), ACME, 50) for n in range(MOST_MAILBOX_CHECKS + 1))
    copies = (MOST_MAILBOX_CHECKS + 1) * (1 + HEADER_ALLOWANCE_BYTES)
    found = assessed(None, [], Destinations(many, (), (TENANTS[ACME],)), 1).spaces
    assert found == [SpaceCheck("tenant", ACME, 1000, copies)]


def test_what_is_counted_of_a_day() -> None:
    sent: dict[str, Any] = {"sent_messages": 1, "sent_recipients": 2, "sent_bytes": 100}
    received = {"received_messages": 1, "received_recipients": 2, "received_bytes": 200}
    found = assessed(TARO, [OUTSIDE, kept(21, 22)], size=100).daily_counts
    assert found == [DailyCount(ACME, sent), DailyCount(BOLT, received)]


def test_what_is_counted_of_a_day_if_a_recipient_is_rejected() -> None:
    received = [DailyCount(number, {"received_refused": 1}) for number in (ACME, BOLT)]
    assert rejected(None, kept(12, 21)) == received
    assert rejected(TARO, kept(21)) == [received[1], DailyCount(ACME, {"sent_refused": 1})]
    assert rejected(TARO, OUTSIDE) == [DailyCount(ACME, {"sent_refused": 1})]


def test_whose_limit_mailbox_or_pool_it_is() -> None:
    found = assessed(TARO, [forward(23), replace(kept(22), local=boxes(22, quota=1))])
    subjects = [
        LimitSubject("tenant", BOLT, "send"),
        LimitSubject("account", 11, "send"),
        LimitSubject("account", 23, "send"),
    ]
    assert [found.tenant_of(subject) for subject in subjects] == [TENANTS[BOLT], TENANTS[ACME], TENANTS[BOLT]]
    assert [space.scope for space in found.spaces] == ["account", "tenant"]
    assert [found.tenant_of(space) for space in found.spaces] == [TENANTS[BOLT]] * 2
    assert found.tenant_of(LimitSubject("host", HOST, "send")) is None
    assert found.tenant_of(LimitSubject("account", 99, "send")) is None


def test_a_mailbox_that_is_full_leaves_the_other_targets() -> None:
    both = kept(11, 21)
    assert [assessed(None, [], both).fits_nowhere(full) for full in ({11}, {11, 21})] == [False, True]
    assert not assessed(None, [], replace(both, external=OUTSIDE.external)).fits_nowhere({11, 21})
    # At the end all recipients are asked about.
    assert not assessed(None, [kept(11), kept(21)]).fits_nowhere({11})
