# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One mail on its way in: whose it is, where its recipients lead to, and what the checks say.  Knows no milter."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from ..common.address import Address, parse
from ..common.errors import DirectoryError, SourceError
from . import attribution, charges, fields
from .checks.base import Action, Reject
from .checks.order import Checks
from .context import Gate
from .decision_log import describe, write
from .directory import MOST_DESTINATIONS
from .mail import OWN_LISTENER, Mail, RecipientName
from .model import TRY_LATER, Reply

#: RFC 5321 4.5.3.1.10: the client sends the mail again, to those that are left.
TOO_MANY: Final = Reply("452", "4.5.3", "Too many recipients")
#: Postfix says so of senders; a session outlasts its login's rights, and may send what has no sender.
MAY_NOT_SEND: Final = Reply("550", "5.7.1", "This login may send no mail")
ON_HOLD: Final = Reply("550", "5.7.1", "Sending is on hold for this login")
#: Postfix closes the connection after it.  Who may still log in does so, and the others are told then why not.
LOGIN_ENDED: Final = Reply("421", "4.7.0", "This login has ended, please log in again")


@dataclass(frozen=True)
class Outcome:
    """How a mail ends: rejected or deferred by `reply`, or taken.

    If it is taken, `hold` says why it waits in the queue, if it does, and `actions` what is changed of it; or `discard`
    says that nobody gets it.
    """

    reply: Reply | None = None
    hold: str | None = None
    actions: tuple[Action, ...] = ()
    discard: bool = False


class Transaction:
    """A mail, from MAIL to the end of its data."""

    def __init__(self, gate: Gate, mail: Mail) -> None:
        self.gate: Final = gate
        self.mail: Final = mail
        self._checks: Final = Checks(gate, mail)
        self._received_fields = 0

    def begin(self) -> Reply | None:
        """At MAIL."""
        try:
            self.mail.owner = attribution.at_mail(self.gate.directory, self.mail)
            rejection = self._checks.sender()
        except DirectoryError as error:
            return self._defer(error)
        return self.mail.reject(*rejection) if rejection else None

    def invalid_recipient(self) -> None:
        """At RCPT: Postfix has rejected a recipient that does not exist."""
        self._checks.invalid_recipient()

    def recipient(self, written: str, in_envelope: str | None = None) -> Reply | None:
        """At RCPT: an address as Postfix has resolved it, and as the client wrote it if that is another text."""
        mail = self.mail
        to = mail.latest_recipient = parse(written)
        try:
            reply = self._recipient(to, RecipientName(written, in_envelope or written)) if to else None
        except DirectoryError as error:
            reply = self._defer(error)
        if reply is None:
            mail.first_recipient = mail.first_recipient or to
            mail.written_recipients.append(written)
        mail.latest_recipient = None
        return reply

    def header(self, name: str, value: str, size: int) -> None:
        """A header field, and how many octets it has on the wire."""
        mail, known = self.mail, name.lower()
        if known == "received" and mail.own_received is None:
            # Postfix shows its own only below one of the policy service's: that of who relays after a login by POP.
            self._received_fields += 1
            if (changed := fields.without_client(value, mail.queue_id)) is not None:
                mail.own_received = fields.Field(name, self._received_fields, f" {changed}")
                return
        mail.size += size
        if mail.filter_field is None and attribution.says_whose(known):
            mail.filter_field = known, value.strip()
        self._checks.header(name, value)

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""
        self.mail.size += len(chunk)
        self._checks.body(chunk)

    def end(self) -> Outcome:
        """At the end of the data."""
        try:
            outcome = self._end()
        except SourceError as error:
            outcome = Outcome(self._defer(error))
        if outcome.reply is not None:
            self._checks.rejected()
        return outcome

    def failed(self, error: Exception) -> None:
        """An error that nobody expected; the mail is deferred."""
        write("defer", describe(error), self.mail.about(), code=TRY_LATER.code, level=logging.ERROR)

    def _recipient(self, to: Address, name: RecipientName) -> Reply | None:
        mail, gate = self.mail, self.gate
        if (ended := self._login_ended()) is not None:
            return ended
        found = gate.directory.destinations(to)
        reached = sum(len(each.local) + len(each.external) for each in (*mail.recipients, found))
        if mail.recipients and reached > MOST_DESTINATIONS:
            whose = next(iter(mail.tenants(found)), None)
            return mail.reject(TOO_MANY, f"{reached} destinations, {MOST_DESTINATIONS} at most", whose)
        if mail.owner is None and mail.listener != OWN_LISTENER and found.leads_elsewhere:
            # Nobody relays but who has logged in, by POP if not by AUTH; a filter's mail says at its end whose it is.
            mail.owner = attribution.at_relaying(gate.directory, gate.valkey, mail)
        rejection = self._checks.recipient(found)
        if rejection is None:
            mail.recipients.append(found)
            mail.recipient_names.append(name)
            return None
        counts = charges.rejected(mail.owner, found)
        gate.counters.count(counts)
        return mail.reject(*rejection)

    def _end(self) -> Outcome:
        mail = self.mail
        mail.owner = attribution.at_end(self.gate.directory, mail)
        if (ended := self._login_ended()) is not None:
            return Outcome(ended)
        verdict = self._checks.end()
        if isinstance(verdict, Reject):
            return Outcome(mail.reject(*verdict))
        if verdict.discard is not None:
            return Outcome(discard=True)
        if verdict.hold is None:
            mail.note("pass", "within all limits", None)
            return Outcome(actions=verdict.actions)
        mail.note("hold", *verdict.hold)
        return Outcome(hold=verdict.hold.reason, actions=verdict.actions)

    def _login_ended(self) -> Reply | None:
        """The reply to a session whose login may not send or is not valid any more."""
        mail, owner = self.mail, self.mail.owner
        if mail.login is None:
            return None
        whose = owner.tenant if owner else None
        if owner is None or not owner.may_send:
            held = owner is not None and owner.may_login
            return mail.reject(ON_HOLD if held else MAY_NOT_SEND, "the login may not send", whose)
        renewed = owner.login_since is not None and owner.login_since > mail.connected
        if renewed or not owner.may_login or mail.listener not in owner.protocols:
            return mail.reject(LOGIN_ENDED, "the login has ended", whose)
        return None

    def _defer(self, error: SourceError) -> Reply:
        owner = self.mail.owner
        write("defer", str(error), self.mail.about(), tenant=owner.tenant if owner else None, code=TRY_LATER.code)
        return TRY_LATER
