# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipients of notices."""

from __future__ import annotations

from typing import NamedTuple

from ..common.address import parse
from .directory import Notice
from .texts import PAUSE_KINDS, QUOTA_KINDS, VIRUS_KINDS


class Recipient(NamedTuple):
    """An address, and whether it is a mailbox here, which gets the notice even if it is full."""

    address: str
    direct: bool


def recipients(notice: Notice, operator: str) -> list[Recipient]:
    """The recipients of a notice, each once.

    The user gets notices about the mailbox and about held mail, the tenant's technical contact all notices, and the
    operator those about limits and those that the contact cannot read.  A warning of infected mail has one recipient:
    the account that it names or, if it names none, the contact.
    """
    if notice.kind in VIRUS_KINDS:
        if notice.account or notice.facts.get("account"):
            return [Recipient(notice.account, direct=True)] if notice.account else []
        return [Recipient(notice.contact, notice.direct)] if notice.contact else []
    found = []
    if notice.kind not in PAUSE_KINDS and notice.account:
        found.append(Recipient(notice.account, direct=True))
    if notice.contact:
        found.append(Recipient(notice.contact, notice.direct))
    if (notice.kind not in QUOTA_KINDS or notice.unread) and operator:
        found.append(Recipient(operator, direct=False))
    by_mailbox = {parse(recipient.address) or recipient.address: recipient for recipient in reversed(found)}
    return list(by_mailbox.values())[::-1]
