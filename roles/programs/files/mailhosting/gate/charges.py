# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mail costs those who send and receive it, and the space that it needs.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .mail import Mail
from .model import (
    HOST,
    DailyCount,
    Destinations,
    Direction,
    Limit,
    LimitSubject,
    Owner,
    RateCharge,
    Scope,
    SpaceCheck,
    Tenant,
)

#: Bytes that a mail grows by until it lies in a mailbox: Received, Return-Path, Delivered-To.
HEADER_ALLOWANCE_BYTES: Final = 1024
#: Mailboxes of one recipient beyond which only the pool is compared, not each mailbox.
MOST_MAILBOX_CHECKS: Final = 500

HostLimits = Mapping[Direction, tuple[Limit, ...]]
#: Tenants by what a limit, pool or mailbox is called.
_Tenants = dict[tuple[Scope, int], Tenant]


@dataclass(frozen=True)
class Assessment:
    """All that is to be compared and counted of a mail, with the tenants that it concerns.

    `asked` are the recipients whose space is compared: the latest one, or all of them.
    """

    charges: Sequence[RateCharge]
    spaces: Sequence[SpaceCheck]
    daily_counts: Sequence[DailyCount]
    asked: Sequence[Destinations]
    tenants: Mapping[tuple[Scope, int], Tenant]

    def tenant_of(self, subject: LimitSubject | SpaceCheck) -> Tenant | None:
        """The tenant whose limit, pool or mailbox it is; None for the host's limits and for a tenant that has gone."""
        return self.tenants.get((subject.scope, subject.id))

    def fits_nowhere(self, full: Collection[int]) -> bool:
        """Whether no recipient has a target with space, if the mailboxes of these accounts are full."""
        return all(
            not recipient.external and all(target.mailbox.account_id in full for target in recipient.local)
            for recipient in self.asked
        )


def assess(mail: Mail, host_limits: HostLimits, latest: Destinations | None = None) -> Assessment:
    """Assess a mail by its declared size with one recipient more, or (None) by its real size at its end."""
    size = mail.size if latest is None else mail.declared_size
    recipients = tuple(mail.recipients) if latest is None else (*mail.recipients, latest)
    asked = recipients if latest is None else (latest,)
    tenants: _Tenants = {("tenant", tenant.id): tenant for tenant in mail.tenants(*recipients)}
    sent = _sent(_senders(mail.owner, recipients), tenants)
    copies = Counter(target.tenant_id for recipient in recipients for target in recipient.local)
    received = {LimitSubject("tenant", number, "receive"): count for number, count in copies.items()}
    counted = (*sent.items(), *received.items())
    charges = [RateCharge(subject, _limits(subject, tenants), 1, count) for subject, count in counted]
    of_host: dict[Direction, int] = {"send": _leaving(mail.owner, recipients), "receive": copies.total()}
    charges += [
        RateCharge(LimitSubject("host", HOST, direction), host_limits[direction], 1, count)
        for direction, count in of_host.items()
        if count
    ]
    spaces = _spaces(asked, copies, tenants, size + HEADER_ALLOWANCE_BYTES)
    return Assessment(charges, spaces, _daily_counts(sent, received, size), asked, tenants)


def rejected(owner: Owner | None, recipient: Destinations) -> list[DailyCount]:
    """What is added to the counts of the day if a recipient is rejected."""
    found = [DailyCount(tenant.id, {"received_refused": 1}) for tenant in recipient.tenants]
    if owner and owner.tenant:
        found.append(DailyCount(owner.tenant.id, {"sent_refused": 1}))
    return found


def _senders(owner: Owner | None, recipients: Sequence[Destinations]) -> Iterator[tuple[int, int | None, int]]:
    """Tenant, account and number of recipients: who writes sends to each, who forwards to an address elsewhere."""
    if owner:
        yield owner.tenant_id, owner.account_id, max(len(recipients), 1)
    for recipient in recipients:
        for target in recipient.external:
            if target.tenant_id is not None:
                yield target.tenant_id, target.account_id, 1


def _sent(senders: Iterator[tuple[int, int | None, int]], tenants: _Tenants) -> Counter[LimitSubject]:
    """Recipients that tenants and accounts send to; `tenants` learns whose the accounts are."""
    found: Counter[LimitSubject] = Counter()
    for tenant_id, account_id, count in senders:
        found[LimitSubject("tenant", tenant_id, "send")] += count
        tenant = tenants.get(("tenant", tenant_id))
        if account_id is not None and tenant is not None:
            tenants["account", account_id] = tenant
            found[LimitSubject("account", account_id, "send")] += count
    return found


def _limits(subject: LimitSubject, tenants: _Tenants) -> tuple[Limit, ...]:
    tenant = tenants.get((subject.scope, subject.id))
    if tenant is None:
        return ()
    if subject.scope == "account":
        return tenant.account_send_limits
    return tenant.send_limits if subject.direction == "send" else tenant.receive_limits


def _leaving(owner: Owner | None, recipients: Sequence[Destinations]) -> int:
    """Recipients that the host sends to: of each the addresses elsewhere, at least itself where one of ours writes."""
    least = 1 if owner else 0
    return max(least, sum(max(least, len(recipient.external)) for recipient in recipients))


def _spaces(
    asked: Sequence[Destinations], copies: Mapping[int, int], tenants: _Tenants, needed: int
) -> list[SpaceCheck]:
    """The mailboxes and pools of these recipients.  A pool needs space for the copies of all recipients.

    `needed` are the octets of a copy; `tenants` learns whose the mailboxes are.
    """
    targets = [target for recipient in asked for target in recipient.local]
    found = []
    for target in targets if len(targets) <= MOST_MAILBOX_CHECKS else ():
        if target.quota:
            account_id = target.mailbox.account_id
            found.append(SpaceCheck("account", account_id, target.quota, needed, target.mailbox, free=1))
            if (tenant := tenants.get(("tenant", target.tenant_id))) is not None:
                tenants["account", account_id] = tenant
    for number in dict.fromkeys(target.tenant_id for target in targets):
        tenant = tenants.get(("tenant", number))
        if tenant and tenant.quota is not None:
            found.append(SpaceCheck("tenant", number, tenant.quota, needed * copies[number]))
    return found


def _daily_counts(
    sent: Mapping[LimitSubject, int], received: Mapping[LimitSubject, int], size: int
) -> list[DailyCount]:
    """What is added to the tenants' counts of the day if a mail of `size` octets is taken."""
    found = [
        DailyCount(subject.id, {"sent_messages": 1, "sent_recipients": count, "sent_bytes": size})
        for subject, count in sent.items()
        if subject.scope == "tenant"
    ]
    found += [
        DailyCount(subject.id, {"received_messages": 1, "received_recipients": count, "received_bytes": size * count})
        for subject, count in received.items()
    ]
    return found
