# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told."""

from __future__ import annotations

from typing import NamedTuple

from .directory import Notice
from .texts import QUOTA_KINDS


class Recipient(NamedTuple):
    """An address, and whether it is a mailbox here, which gets the notice however full it is."""

    address: str
    direct: bool


def recipients(notice: Notice, operator: str) -> list[Recipient]:
    """The mailbox's user and the tenant's technical contact; of a limit the contact and the operator.  Nobody twice."""
    found = []
    if notice.kind in QUOTA_KINDS and notice.account:
        found.append(Recipient(notice.account, direct=True))
    if notice.contact:
        found.append(Recipient(notice.contact, notice.direct))
    if notice.kind not in QUOTA_KINDS and operator:
        found.append(Recipient(operator, direct=False))
    return list({_mailbox(recipient.address): recipient for recipient in reversed(found)}.values())[::-1]


def _mailbox(address: str) -> str:
    """The address without its extension."""
    local_part, _at, domain = address.lower().rpartition("@")
    return f"{local_part.partition('+')[0]}@{domain}"
