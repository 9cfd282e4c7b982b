# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that does not go on by itself: too much of one content, or from an account that somebody has to release.

What an account sends is stopped from then on, all of it, and the directory remembers that.  Of what a tenant receives
only the content is stopped that there was too much of, and only until its window ends.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ..common.errors import ValkeyError
from ..common.valkey import Valkey
from . import bulk_mail_counts
from .bulk_mail_counts import Excess, Rule
from .decision_log import Note
from .directory import Directory
from .fingerprint import Fingerprint, Reader
from .model import Owner, Tenant

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crowd:
    """Whose mail is counted: what an account sends or, without one, what a tenant receives.

    `recipients` are those of one mail.
    """

    tenant: Tenant
    account_id: int | None = None
    username: str | None = None
    recipients: int = 0

    @property
    def key(self) -> str:
        """What `bulk_mail_counts` knows it by."""
        return f"tenant:{self.tenant.id}" if self.account_id is None else f"account:{self.account_id}"

    @property
    def rule(self) -> Rule | None:
        """How much is too much, if anything is."""
        rules = self.tenant.bulk_mail
        if rules is None:
            return None
        return rules.received if self.account_id is None else rules.sent

    @property
    def holds(self) -> bool:
        """Whether what is too much waits in the queue; it is refused otherwise."""
        return self.tenant.bulk_mail is None or self.tenant.bulk_mail.hold


@dataclass(frozen=True)
class Stop:
    """A mail waits in the queue (`hold`) or is refused; without `found` because its account was stopped before."""

    kind: str
    whose: Crowd
    hold: bool
    found: Excess | None = None


@dataclass(frozen=True)
class Envelope:
    """Whose a mail is, the account that sends it unless a filter does, and the tenants that each recipient leads to."""

    owner: Owner | None
    sender: Crowd | None
    reached: tuple[tuple[Tenant, ...], ...]


class Inspector(Protocol):
    """Reads a mail as it comes by, and says at its end whether it stops; nothing is counted elsewhere before."""

    def concerns(self, tenants: Iterable[Tenant]) -> None:
        """At a recipient: whose rules hold for the mail, among others."""

    def header(self, name: str, value: str) -> None:
        """A header field."""

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""

    def end(self, envelope: Envelope) -> Stop | None:
        """The end of the mail.  Raises: DirectoryError."""

    def take_back(self, stop: Stop | None = None) -> None:
        """The mail is refused after all, by `stop` or for something else."""


class Watch:
    """Looks for bulk mail."""

    def __init__(self, valkey: Valkey, note: Note) -> None:
        self._reader: Reader | None = None
        self._valkey = valkey
        self._note = note
        self._counted: list[tuple[Crowd, Rule, Fingerprint | None]] = []

    def concerns(self, tenants: Iterable[Tenant]) -> None:
        """What nobody has a rule for is not read."""
        if self._reader is None and any(tenant.bulk_mail for tenant in tenants):
            self._reader = Reader()

    def header(self, name: str, value: str) -> None:
        """A header field."""
        if self._reader is not None:
            self._reader.header(name, value)

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""
        if self._reader is not None:
            self._reader.body(chunk)

    def end(self, envelope: Envelope) -> Stop | None:
        """Count a mail; whether it stops.  For its receivers it does if it is too much for all that it reaches."""
        sender, own = envelope.sender, envelope.owner.tenant_id if envelope.owner else None
        if sender is not None and envelope.owner and envelope.owner.blocked_for:
            return Stop(envelope.owner.blocked_for, sender, sender.holds)
        tenants = {tenant.id: tenant for reached in envelope.reached for tenant in reached}
        counts = Counter(tenant.id for reached in envelope.reached for tenant in reached if tenant.id != own)
        all_crowds = [Crowd(tenants[number], recipients=count) for number, count in counts.items()]
        receivers = [crowd for crowd in all_crowds if crowd.rule]
        others = len(receivers) < len(all_crowds) or not all(
            reached and all(tenant.id != own for tenant in reached) for reached in envelope.reached
        )
        return self._look(sender, receivers, others=others)

    def take_back(self, stop: Stop | None = None) -> None:
        """The mail counts nothing, but for whom it is too much it was."""
        self._forget([crowd for crowd, _rule, _content in self._counted if stop is None or crowd != stop.whose])

    def _forget(self, whose: Sequence[Crowd]) -> None:
        for crowd, rule, content in self._counted:
            if crowd not in whose:
                continue
            try:
                bulk_mail_counts.take_back(self._valkey, crowd.key, rule, content, crowd.recipients)
            except ValkeyError as error:
                LOG.warning("mail of %s stays counted: %s", crowd.key, error)
        self._counted = [counted for counted in self._counted if counted[0] not in whose]

    def _look(self, sender: Crowd | None, receivers: Sequence[Crowd], *, others: bool) -> Stop | None:
        if sender is not None and (found := self._count(sender)):
            return Stop(found.kind, sender, sender.holds, found)
        over = [(crowd, found) for crowd in receivers if (found := self._count(crowd))]
        if not over or others or len(over) < len(receivers):
            # Too much begins with a mail that stops: its people are told then.
            self._forget([crowd for crowd, _found in over])
            return None
        crowd, found = over[0]
        # A mail waits for one decision: one for several tenants can only be refused.
        return Stop(found.kind, crowd, crowd.holds and len(over) == 1, found)

    def _count(self, crowd: Crowd) -> Excess | None:
        rule = crowd.rule
        if rule is None or self._reader is None:
            return None
        content = self._reader.fingerprint()
        try:
            found = bulk_mail_counts.mail(self._valkey, crowd.key, rule, content, crowd.recipients)
        except ValkeyError as error:
            self._note("unchecked", f"bulk mail not looked for: {error}", crowd.tenant)
            return None
        if found is None or found.begins:
            # What comes later is not counted.
            self._counted.append((crowd, rule, content))
        return found


def settle(directory: Directory, stop: Stop, queue_id: str, note: Note) -> None:
    """Remember what stops, and have its people told.  Raises: DirectoryError."""
    if stop.found is not None:
        _begin(directory, stop.whose, stop.found, note)
    if stop.hold:
        tenant_id = stop.whose.tenant.id if stop.whose.account_id is None else None
        directory.keep(queue_id, stop.whose.account_id, tenant_id, stop.kind, time.time())


def count_invalid(directory: Directory, valkey: Valkey, sender: Crowd, recipients: int, note: Note) -> str | None:
    """Count recipients that do not exist; why the account is stopped, if it is.  Raises: DirectoryError."""
    if sender.rule is None:
        return None
    try:
        found = bulk_mail_counts.invalid(valkey, sender.key, sender.rule, recipients)
    except ValkeyError as error:
        note("unchecked", f"invalid recipients not counted: {error}", sender.tenant)
        return None
    if found is None:
        return None
    _begin(directory, sender, found, note)
    return found.kind


def _begin(directory: Directory, crowd: Crowd, found: Excess, note: Note) -> None:
    ends = time.time() + found.seconds
    of_account = crowd.account_id is not None
    facts: dict[str, Any] = {
        "account": crowd.username,
        "limit": _limit(crowd.rule, found),
        "until": None if of_account else datetime.fromtimestamp(ends, UTC).isoformat(timespec="seconds"),
        "count": found.count,
        "direction": "send" if of_account else "receive",
    }
    if crowd.account_id is not None:
        directory.stop(crowd.account_id, found.kind, facts)
    elif found.begins:
        directory.add_notice(found.kind, crowd.tenant.id, None, facts, f"{found.kind} {crowd.key} {int(ends)}")
    if found.begins:
        note("block", f"stops for {found.kind}: {found.count} of {_limit(crowd.rule, found)}", crowd.tenant)


def _limit(rule: Rule | None, found: Excess) -> str | None:
    if rule is None:
        return None
    most = rule.recipients_per_content if found.kind == "bulk_mail" else rule.invalid_recipients
    return f"{most} recipients / {rule.per} s"
