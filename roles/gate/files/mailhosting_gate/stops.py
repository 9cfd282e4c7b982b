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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import crowds
from .content import Fingerprint, Reader
from .crowds import Hold, Rule
from .directory import Directory
from .model import Tenant
from .valkey import Down, Valkey

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
        """What `crowds` knows it by."""
        return f"tenant:{self.tenant.id}" if self.account_id is None else f"account:{self.account_id}"

    @property
    def rule(self) -> Rule | None:
        """How much is too much, if anything is."""
        rules = self.tenant.mass_mail
        if rules is None:
            return None
        return rules.received if self.account_id is None else rules.sent

    @property
    def holds(self) -> bool:
        """Whether what is too much waits in the queue; it is refused otherwise."""
        return self.tenant.mass_mail is None or self.tenant.mass_mail.hold


@dataclass(frozen=True)
class Stop:
    """A mail waits in the queue (`hold`) or is refused; without `found` because its account was stopped before."""

    kind: str
    whose: Crowd
    hold: bool
    found: Hold | None = None


class Watch:
    """Looks at the content of one mail, of which a reader is fed."""

    def __init__(self, directory: Directory, valkey: Valkey) -> None:
        self.reader: Reader | None = None
        self._directory = directory
        self._valkey = valkey
        self._counted: list[tuple[Crowd, Rule, Fingerprint | None]] = []

    def look(self, sender: Crowd | None, receivers: Sequence[Crowd], *, others: bool) -> Stop | None:
        """Count a mail; whether it stops.  For its receivers it does if it is too much for all, without `others`."""
        if sender is not None and (found := self._count(sender)):
            return Stop(found.kind, sender, sender.holds, found)
        over = [(crowd, found) for crowd in receivers if (found := self._count(crowd))]
        if not over or others or len(over) < len(receivers):
            return None
        crowd, found = over[0]
        # A mail waits for one decision: one for several tenants can only be refused.
        return Stop(found.kind, crowd, crowd.holds and len(over) == 1, found)

    def take_back(self, stop: Stop | None = None) -> None:
        """The mail is refused: it counts nothing, but for whom it is too much it was."""
        for crowd, rule, content in self._counted:
            if stop is not None and crowd == stop.whose:
                continue
            try:
                crowds.take_back(self._valkey, crowd.key, rule, content, crowd.recipients)
            except (Down, ValueError) as error:
                LOG.warning("refused mail of %s stays counted: %s", crowd.key, error)
        self._counted = []

    def settle(self, stop: Stop, queue_id: str) -> None:
        """Remember what stops, and have its people told.  Unavailable."""
        if stop.found is not None:
            _begin(self._directory, stop.whose, stop.found)
        if stop.hold:
            tenant_id = stop.whose.tenant.id if stop.whose.account_id is None else None
            self._directory.keep(queue_id, stop.whose.account_id, tenant_id, stop.kind, time.time())

    def _count(self, crowd: Crowd) -> Hold | None:
        rule = crowd.rule
        if rule is None or self.reader is None:
            return None
        content = self.reader.fingerprint()
        try:
            found = crowds.mail(self._valkey, crowd.key, rule, content, crowd.recipients)
        except (Down, ValueError) as error:
            LOG.warning("mass mail not looked for: %s", error)
            return None
        if found is None or found.begins:
            # What comes later is not counted.
            self._counted.append((crowd, rule, content))
        return found


def count_unknown(directory: Directory, valkey: Valkey, sender: Crowd, recipients: int = 1) -> str | None:
    """Recipients that nobody is were counted; why the account is stopped, if it is.  Unavailable."""
    if sender.rule is None:
        return None
    try:
        found = crowds.unknown(valkey, sender.key, sender.rule, recipients)
    except (Down, ValueError) as error:
        LOG.warning("unknown recipients not counted: %s", error)
        return None
    if found is None:
        return None
    _begin(directory, sender, found)
    return found.kind


def _begin(directory: Directory, crowd: Crowd, found: Hold) -> None:
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
    LOG.info("%s: %s: %d recipients", crowd.username or crowd.tenant.name, found.kind, found.count)


def _limit(rule: Rule | None, found: Hold) -> str | None:
    if rule is None:
        return None
    most = rule.same_content if found.kind == "mass_mail" else rule.unknown_recipients
    return f"{most} recipients / {rule.per} s"
