# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings of infected mail: whom the deciding policy has told, and what of.

Only people of this host are told.  The directory sends each at most one warning an hour, with a count, and none to
those who take no mail.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final, Literal, NamedTuple

from ..common.address import parse
from ..common.errors import DirectoryError
from .directory import Directory
from .mail import Mail, RecipientName
from .model import Destinations
from .virus_policy import Concern, Fate, Judgement

LOG: Final = logging.getLogger(__name__)

#: Characters of a text that a warning quotes.
_QUOTED: Final = 200

WarningKind = Literal["virus_received", "virus_sent"]


@dataclass(frozen=True)
class Recipient:
    """A recipient of a mail, and where it leads to."""

    leads_to: Destinations
    name: RecipientName

    @property
    def accounts(self) -> tuple[tuple[int, int], ...]:
        """Tenant and account of each mailbox that the recipient leads to, or that forwards it."""
        local = ((target.tenant_id, target.mailbox.account_id) for target in self.leads_to.local)
        forwarding = (
            (target.tenant_id, target.account_id)
            for target in self.leads_to.external
            if target.tenant_id is not None and target.account_id is not None
        )
        return tuple(dict.fromkeys((*local, *forwarding)))


class Decided(NamedTuple):
    """What becomes of a mail for a recipient, and the plans that scan it for that recipient."""

    recipient: Recipient
    judgement: Judgement
    concerned: tuple[Concern, ...]


class Warned(NamedTuple):
    """Who gets a warning: an account, or (None) the technical contact of a tenant."""

    kind: WarningKind
    tenant_id: int
    account_id: int | None


def warned(mail: Mail, recipient: Recipient, judgement: Judgement) -> Iterator[Warned]:
    """Whom the policy that decides about a recipient has told."""
    concern = judgement.concern
    if concern is None:
        return
    notify, owner = concern.policy.notify, mail.owner
    sender = mail.sender or (parse(owner.username) if owner and owner.username else None)
    address = parse(recipient.name.written)
    is_same = sender is not None and address is not None and sender.domain == address.domain
    if "recipient" in notify or ("recipient_same_domain" in notify and is_same):
        yield from (Warned("virus_received", tenant_id, account_id) for tenant_id, account_id in recipient.accounts)
    if "sender" in notify and owner is not None:
        # An address without a mailbox, such as an alias that a web form sends as, has its tenant's contact told.
        yield Warned("virus_sent", owner.tenant_id, owner.account_id)
    if "contact" in notify or (judgement.fate == "delete" and not recipient.accounts and not concern.outbound):
        yield Warned("virus_sent" if concern.outbound else "virus_received", concern.tenant.id, None)


def warn(directory: Directory, mail: Mail, subject: str, decided: Sequence[Decided]) -> None:
    """Queue the warnings of a mail, each person's once.  Raises: DirectoryError."""
    fates: dict[Warned, tuple[Fate, str]] = {}
    for recipient, judgement, _concerned in decided:
        for person in warned(mail, recipient, judgement):
            fates.setdefault(person, (judgement.fate, judgement.finding.name if judgement.finding else ""))
    unique = f"{mail.queue_id}/{time.time():.6f}"
    recipients = ", ".join(each.recipient.name.written.strip("<>") for each in decided[:3])
    for kind, fate, virus in dict.fromkeys((person.kind, *about) for person, about in fates.items()):
        facts = {
            "count": 1,
            "action": fate,
            "virus": virus[:_QUOTED],
            "sender": mail.written_sender.strip("<>")[:_QUOTED],
            "recipient": recipients[:_QUOTED] if kind == "virus_sent" else None,
            "subject": _decoded(subject),
        }
        people = [person for person, about in fates.items() if (person.kind, *about) == (kind, fate, virus)]
        tenants = [person.tenant_id for person in people]
        accounts = [person.account_id for person in people]
        directory.warn(kind, tenants, accounts, facts, f"{kind}/{fate}/{unique}")


def warn_if_possible(directory: Directory, mail: Mail, subject: str, decided: Sequence[Decided]) -> None:
    """The same for a mail that is rejected: its client hears of it anyway."""
    try:
        warn(directory, mail, subject, decided)
    except DirectoryError as error:
        LOG.warning("%s: nobody is warned: %s", mail.queue_id, error)


def _decoded(subject: str) -> str:
    """A subject as people read it (RFC 2047), as PostgreSQL takes it; as it is where that fails."""
    try:
        text = str(make_header(decode_header(subject)))
    except (HeaderParseError, LookupError, ValueError):
        text = subject
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")[:_QUOTED]
