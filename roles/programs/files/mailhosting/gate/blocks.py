# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose bulk mail and invalid recipients are counted, and how a block begins when there are too many."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..common.errors import ValkeyError
from ..common.valkey import Valkey
from . import bulk_mail_counts
from .bulk_mail_counts import Excess, Rule
from .decision_log import Note
from .directory import Directory
from .mail import OWN_LISTENER, Mail
from .model import Tenant
from .notices import utc


@dataclass(frozen=True)
class CountedParty:
    """Whose mail is counted: what an account sends or, without one, what a tenant receives.

    `recipients` are those of one mail.
    """

    tenant: Tenant
    account_id: int | None = None
    username: str | None = None
    recipients: int = 0

    @property
    def key(self) -> str:
        """The name of its counts in `bulk_mail_counts`."""
        return f"tenant:{self.tenant.id}" if self.account_id is None else f"account:{self.account_id}"

    @property
    def rule(self) -> Rule | None:
        """How much is too much; None where the plan has no rule."""
        rules = self.tenant.bulk_mail
        if rules is None:
            return None
        return rules.received if self.account_id is None else rules.sent

    @property
    def holds(self) -> bool:
        """Whether the plan holds what is too much, and does not reject it."""
        return self.tenant.bulk_mail is None or self.tenant.bulk_mail.hold


def counted_sender(mail: Mail) -> CountedParty | None:
    """The account that sends a mail; None if a filter does, or nobody of ours."""
    owner = mail.owner
    if mail.listener == OWN_LISTENER or owner is None or owner.tenant is None or owner.account_id is None:
        return None
    return CountedParty(owner.tenant, owner.account_id, owner.username, len(mail.recipients))


def record_invalid_recipients(
    directory: Directory, valkey: Valkey, sender: CountedParty, recipients: int, note: Note
) -> str | None:
    """Count recipients that do not exist.  If they block the account, the answer says for what.

    Raises: DirectoryError.
    """
    if sender.rule is None:
        return None
    try:
        found = bulk_mail_counts.invalid(valkey, sender.key, sender.rule, recipients)
    except ValkeyError as error:
        note("unchecked", f"invalid recipients not counted: {error}", sender.tenant)
        return None
    if found is None:
        return None
    record_block(directory, sender, found, note)
    return found.kind


def record_block(directory: Directory, party: CountedParty, found: Excess, note: Note) -> None:
    """Block an account in the directory, which also has its people told, or have a tenant's people told.

    Raises: DirectoryError.
    """
    ends = time.time() + found.seconds
    of_account = party.account_id is not None
    facts: dict[str, Any] = {
        "account": party.username,
        "limit": _limit(party.rule, found),
        "until": None if of_account else utc(ends),
        "count": found.count,
        "direction": "send" if of_account else "receive",
    }
    if party.account_id is not None:
        directory.stop(party.account_id, found.kind, facts)
    elif found.begins:
        directory.add_notice(found.kind, party.tenant.id, None, facts, f"{found.kind} {party.key} {int(ends)}")
    if found.begins:
        note("block", f"stops for {found.kind}: {found.count} of {_limit(party.rule, found)}", party.tenant)


def _limit(rule: Rule | None, found: Excess) -> str | None:
    if rule is None:
        return None
    most = rule.recipients_per_content if found.kind == "bulk_mail" else rule.invalid_recipients
    return f"{most} recipients / {rule.per} s"
