# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate knows of one mail: a transaction writes it down as the mail comes, and the checks read it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ..common.address import Address, parse
from .decision_log import About, Decision, write
from .fields import Field
from .model import Destinations, Owner, Reply, Tenant

#: The name of the listener by which this host submits mail that it makes itself, such as what a filter sends.
OWN_LISTENER: Final = "own"


class RecipientName(NamedTuple):
    """A recipient as Postfix has resolved it, and as it stands in the envelope, where Postfix wants it named."""

    written: str
    in_envelope: str


@dataclass
class Mail:
    """A mail, from MAIL to the end of its data.

    `client` is the address that it comes from, `listener` names the port, `login` is who has logged in since
    `connected` (Unix time).  `sender` is the envelope's, and `written_sender` the same as it stands on the wire.
    """

    queue_id: str
    client: str
    listener: str
    login: str | None
    sender: Address | None
    declared_size: int
    connected: float = 0.0
    written_sender: str = ""
    host: str = "localhost"

    #: The account or tenant that sends it, as soon as that is known.
    owner: Owner | None = None
    #: Where each accepted recipient leads to, with its names, and all recipients as Postfix has resolved them: one that
    #: is no address is only there.
    recipients: list[Destinations] = field(default_factory=list)
    recipient_names: list[RecipientName] = field(default_factory=list)
    written_recipients: list[str] = field(default_factory=list)
    first_recipient: Address | None = None
    #: The recipient that the client has named and the gate has not answered yet.
    latest_recipient: Address | None = None
    #: Octets of header and body on the wire so far; the empty line between them is 2.
    size: int = 2
    #: Name (in lower case) and value of the first field that says whose filter made the mail; see `attribution`.
    filter_field: tuple[str, str] | None = None
    #: Postfix's own Received field without the client's address, if the mail shows that field.
    own_received: Field | None = None

    _noted: set[str] = field(default_factory=set)

    def tenants(self, *recipients: Destinations) -> list[Tenant]:
        """The tenant that sends it, then those whose mailboxes or forwards these recipients lead to, by number."""
        reached = {tenant.id: tenant for recipient in recipients for tenant in recipient.tenants}
        return [*self._senders(), *(reached[number] for number in sorted(reached))]

    def take_out(self, numbers: Collection[int]) -> None:
        """Forget these of `recipients`, counted from 0, who do not get the mail after all."""
        for number in sorted(numbers, reverse=True):
            del self.recipients[number]
            self.written_recipients.remove(self.recipient_names.pop(number).written)
        self.first_recipient = next(filter(None, map(parse, self.written_recipients)), None)

    def reject(self, reply: Reply, reason: str, tenant: Tenant | None = None) -> Reply:
        """Write that the mail, or its latest recipient, is rejected by this reply."""
        write("reject", reason, self.about(), tenant=tenant, code=reply.code)
        return reply

    def note(self, decision: Decision, reason: str, tenant: Tenant | None) -> None:
        """Write a decision once a mail, however often the mail is looked at."""
        what = reason.partition(":")[0]
        if what not in self._noted:
            self._noted.add(what)
            write(decision, reason, self.about(), tenant=tenant)

    def about(self) -> About:
        """What a line of the log says of the mail."""
        username = self.owner.username if self.owner else None
        to, more = self.latest_recipient or self.first_recipient, len(self.recipients) - 1
        others = f" and {more} more" if more > 0 and self.latest_recipient is None else ""
        return About(
            queue_id=self.queue_id,
            account=username or self.login,
            client=self.client,
            sender="@".join(self.sender) if self.sender else "<>",
            to=f"{'@'.join(to)}{others}" if to else None,
        )

    def _senders(self) -> Iterable[Tenant]:
        return (self.owner.tenant,) if self.owner and self.owner.tenant else ()
