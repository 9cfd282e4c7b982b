# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mail costs those who send and receive it, and the room that it needs.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .model import (
    HOST,
    DailyCount,
    Destinations,
    Direction,
    Limit,
    LimitSubject,
    LocalTarget,
    Owner,
    RateCharge,
    SpaceCheck,
    Tenant,
)

#: Mailboxes of one recipient beyond which only the pool is looked at, not each mailbox.
MOST_MAILBOX_CHECKS: Final = 500

HostLimits = Mapping[Direction, tuple[Limit, ...]]


@dataclass(frozen=True)
class Mail:
    """Who sends a mail, where its recipients lead to, and the tenants among all of them, by number.

    A tenant that is missing is gone: it has no limits and no pool.
    """

    owner: Owner | None
    recipients: Sequence[Destinations]
    tenants: Mapping[int, Tenant]

    @cached_property
    def places(self) -> list[LocalTarget]:
        """Every mailbox that it ends in."""
        return [place for recipient in self.recipients for place in recipient.local]

    def tenant_of(self, subject: LimitSubject | SpaceCheck) -> Tenant | None:
        """The tenant whose limits a subject of this mail has, or whose a mailbox or pool is; None for the host."""
        number: int | None = None
        if subject.scope == "tenant":
            number = subject.id
        elif isinstance(subject, SpaceCheck):
            number = next((place.tenant_id for place in self.places if place.mailbox == subject.mailbox), None)
        elif subject.scope == "account":
            number = _tenants_of_accounts(self).get(subject.id)
        return None if number is None else self.tenants.get(number)


def charges(mail: Mail, host_limits: HostLimits) -> list[RateCharge]:
    """What is counted if the mail is taken: one message for each subject, and one for the host in each direction."""
    accounts = _tenants_of_accounts(mail)
    counts = (*_sent(mail).items(), *_received(mail).items())
    found = [
        RateCharge(subject, _limits(subject, mail.tenants, accounts), 1, recipients) for subject, recipients in counts
    ]
    of_host: dict[Direction, int] = {"send": _leaving(mail), "receive": len(mail.places)}
    found += [
        RateCharge(LimitSubject("host", HOST, direction), host_limits[direction], 1, recipients)
        for direction, recipients in of_host.items()
        if recipients
    ]
    return found


def spaces(mail: Mail, latest: Destinations | None, needed: int) -> list[SpaceCheck]:
    """The mailboxes and pools that the latest recipient leads to, or all of them; a copy has `needed` octets.

    A pool needs room for the copies of all recipients.
    """
    asked = latest.local if latest else mail.places
    found = []
    if len(asked) <= MOST_MAILBOX_CHECKS:
        found = [
            SpaceCheck("account", place.mailbox.account_id, place.quota, needed, place.mailbox, free=1)
            for place in asked
            if place.quota
        ]
    copies = Counter(place.tenant_id for place in mail.places)
    for number in dict.fromkeys(place.tenant_id for place in asked):
        tenant = mail.tenants.get(number)
        if tenant and tenant.quota is not None:
            found.append(SpaceCheck("tenant", number, tenant.quota, needed * copies[number]))
    return found


def daily_counts(mail: Mail, size: int) -> list[DailyCount]:
    """What is added to the day's counts of tenants if a mail of `size` octets is taken."""
    found = [
        DailyCount(subject.id, {"sent_messages": 1, "sent_recipients": count, "sent_bytes": size})
        for subject, count in _sent(mail).items()
        if subject.scope == "tenant"
    ]
    found += [
        DailyCount(subject.id, {"received_messages": 1, "received_recipients": count, "received_bytes": size * count})
        for subject, count in _received(mail).items()
    ]
    return found


def _senders(mail: Mail) -> Iterator[tuple[int, int | None, int]]:
    """Tenant, account and number of recipients: who writes sends to each, who forwards to an address elsewhere."""
    if mail.owner:
        yield mail.owner.tenant_id, mail.owner.account_id, max(len(mail.recipients), 1)
    for recipient in mail.recipients:
        for onward in recipient.external:
            if onward.tenant_id is not None:
                yield onward.tenant_id, onward.account_id, 1


def _tenants_of_accounts(mail: Mail) -> dict[int, int]:
    """Of the accounts that send."""
    return {account_id: tenant_id for tenant_id, account_id, _count in _senders(mail) if account_id is not None}


def _sent(mail: Mail) -> Counter[LimitSubject]:
    """Recipients that tenants and accounts send to."""
    found: Counter[LimitSubject] = Counter()
    for tenant_id, account_id, count in _senders(mail):
        found[LimitSubject("tenant", tenant_id, "send")] += count
        if account_id is not None and tenant_id in mail.tenants:
            found[LimitSubject("account", account_id, "send")] += count
    return found


def _received(mail: Mail) -> dict[LimitSubject, int]:
    """Mailboxes that tenants receive it in."""
    counts = Counter(place.tenant_id for place in mail.places)
    return {LimitSubject("tenant", number, "receive"): count for number, count in counts.items()}


def _leaving(mail: Mail) -> int:
    """Recipients that the host sends to: of each the addresses elsewhere, at least itself where one of ours writes."""
    least = 1 if mail.owner else 0
    return max(least, sum(max(least, len(recipient.external)) for recipient in mail.recipients))


def _limits(subject: LimitSubject, tenants: Mapping[int, Tenant], accounts: Mapping[int, int]) -> tuple[Limit, ...]:
    tenant = tenants.get(accounts[subject.id] if subject.scope == "account" else subject.id)
    if tenant is None:
        return ()
    if subject.scope == "account":
        return tenant.account_send_limits
    return tenant.send_limits if subject.direction == "send" else tenant.receive_limits
