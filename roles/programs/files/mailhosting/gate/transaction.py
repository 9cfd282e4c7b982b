# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One mail on its way in: who sends it, whom it reaches, whether it may pass.  Knows no milter.

At each recipient everything is checked and nothing is counted; at the end of the mail all of it is checked again and
counted at once.  So a mail that is given up has nothing to give back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple

from ..common.address import Address, parse
from ..common.errors import DirectoryError, ValkeyError
from ..common.valkey import Valkey
from . import attribution, charges, fields
from .bounces import remember_sender
from .counters import Counters
from .decision_log import About, Decision, describe, write
from .directory import MOST_DESTINATIONS, Directory
from .model import (
    DailyCount,
    Destinations,
    Direction,
    Limit,
    LimitSubject,
    Owner,
    Refused,
    SpaceCheck,
    Tenant,
    Verdict,
)
from .stops import Crowd, Envelope, Inspector, Stop, Watch, count_invalid, settle

LOG: Final = logging.getLogger(__name__)

#: Bytes that a mail grows by until it lies in a mailbox: Received, Return-Path, Delivered-To.
HEADER_ALLOWANCE_BYTES: Final = 1024

#: Where mail comes from that this host makes itself, as Postfix's listeners are called.
OWN: Final = "own"


class Reply(NamedTuple):
    """What is answered instead of going on."""

    code: str
    enhanced: str | None
    text: str


TRY_LATER: Final = Reply("451", "4.3.0", "Temporary failure, try again later")
#: RFC 5321 4.5.3.1.10: the client sends the mail again, to those that are left.
TOO_MANY: Final = Reply("452", "4.5.3", "Too many recipients")
#: Postfix says so of senders; a session outlasts its login's rights, and may send what has no sender.
MAY_NOT_SEND: Final = Reply("550", "5.7.1", "This login may send no mail")
ON_HOLD: Final = Reply("550", "5.7.1", "Sending is on hold for this login")
#: Postfix hangs up after it: who may still log in does so, and others are told then why not.
LOGIN_ENDED: Final = Reply("421", "4.7.0", "This login has ended, please log in again")


@dataclass(frozen=True)
class Texts:
    """Replies that are settings: a code and what follows."""

    message_size: Reply
    limit: Reply
    full: Reply
    bulk_mail: Reply
    invalid_recipients: Reply


@dataclass(frozen=True)
class Gate:
    """What all mails have in common."""

    directory: Directory
    valkey: Valkey
    counters: Counters
    texts: Texts
    host_limits: Mapping[Direction, tuple[Limit, ...]]
    zone: tzinfo = UTC  # of the dates it writes
    message_size_limit: int | None = None  # bytes, for tenants whose plan says none

    def may_log_in(self, client: str) -> Reply | None:
        """Asked before a login: of one that Dovecot cannot check Postfix says 535, that the password is wrong."""
        try:
            self.directory.ping()
        except DirectoryError as error:
            write("defer", f"no logins: {error}", About(client=client), code=TRY_LATER.code)
            return TRY_LATER
        return None


@dataclass
class Outcome:
    """How a mail ends: refused by `reply`, or taken.

    Then `quarantine` says why it waits in the queue, if it does, `no_sender` whether its envelope loses the sender,
    `added` which header fields it gets, by name and value, `on_top` which it gets before those it came with, and
    `changed` which of those say something else.
    """

    reply: Reply | None = None
    quarantine: str | None = None
    no_sender: bool = False
    added: tuple[tuple[str, str], ...] = ()
    on_top: tuple[tuple[str, str], ...] = ()
    changed: tuple[fields.Field, ...] = ()


@dataclass
class Transaction:
    """A mail, from MAIL to the end of its data.

    `client` is the address it comes from, `listener` names the port, `written` is the sender as the wire has it,
    `login` is who has logged in since `connected` (Unix time).
    """

    gate: Gate
    queue_id: str
    client: str
    listener: str
    login: str | None
    sender: Address | None
    declared_size: int
    connected: float = 0.0
    written: str = ""
    host: str = "localhost"
    _owner: Owner | None = None
    _recipients: list[Destinations] = field(default_factory=list)
    _accepted: list[str] = field(default_factory=list)  # as the wire has them
    _reached: int = 0  # destinations of all recipients
    _tenants: dict[int, Tenant] = field(default_factory=dict)
    _size: int = 2  # the empty line after the header
    _fields: set[str] = field(default_factory=set)  # of those that every mail has
    _received_fields: int = 0
    _received: fields.Field | None = None  # Postfix's own field without the client, where it is seen
    _said_first: tuple[str, str] | None = None  # of the fields that say whose a filter's mail is
    _invalid: int = 0
    _first: Address | None = None
    _latest: Address | None = None  # while it is judged
    _noted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._inspectors: tuple[Inspector, ...] = (Watch(self.gate.valkey, self._note),)
        self._marked = fields.Marked(self.written)

    def mail(self) -> Reply | None:
        """At MAIL: who sends, and whether a mail of the declared size may come from them."""
        try:
            if self.login is not None:
                self._owner = self._owner_of(parse(self.login, delimiter=""))
            elif self.listener not in ("smtp", OWN):
                # What the host hands in itself (sendmail) says whose it is.
                self._owner = self._owner_of(self.sender)
            tenants = self._senders()
        except DirectoryError as error:
            return self._put_off(error)
        return self._turned_away() or self._too_large(tenants, self.declared_size)

    def invalid_recipient(self) -> None:
        """At RCPT: Postfix has refused a recipient that does not exist."""
        self._invalid += 1
        try:
            self._count_invalid()
        except DirectoryError as error:
            self._note("unchecked", f"invalid recipients not counted: {error}", None)

    def recipient(self, written: str) -> Reply | None:
        """At RCPT."""
        to = parse(written)
        if to is None:
            self._accepted.append(written)
            return None
        self._latest = to
        try:
            reply = self._recipient(to)
        except DirectoryError as error:
            reply = self._put_off(error)
        if reply is None:
            self._first = self._first or to
            self._accepted.append(written)
        self._latest = None
        return reply

    def header(self, name: str, value: str, size: int) -> None:
        """A header field, and how many octets it has on the wire."""
        known = name.lower()
        if known == "received" and self._received is None:
            # Postfix shows its own only below one of the policy service's: that of who relays after a login by POP.
            self._received_fields += 1
            if (changed := fields.without_client(value, self.queue_id)) is not None:
                self._received = fields.Field(name, self._received_fields, f" {changed}")
                return
        self._size += size
        if known in fields.DEMANDED:
            self._fields.add(known)
        if self._said_first is None and known in (fields.REDIRECTED_FROM, attribution.SUBMITTED):
            self._said_first = known, value.strip()
        if self.listener == OWN:
            self._marked.header(name, value)
        for inspector in self._inspectors:
            inspector.header(name, value)

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""
        self._size += len(chunk)
        for inspector in self._inspectors:
            inspector.body(chunk)

    def end(self) -> Outcome:
        """At the end of the mail: count it, or refuse it."""
        try:
            return self._end()
        except DirectoryError as error:
            self._take_back()
            return Outcome(self._put_off(error))

    def failed(self, error: Exception) -> None:
        """Nobody expected it; the mail is put off."""
        write("defer", describe(error), self._about(), code=TRY_LATER.code, level=logging.ERROR)

    def _recipient(self, to: Address) -> Reply | None:
        if (ended := self._ended()) is not None:
            return ended
        found = self.gate.directory.destinations(to)
        reached = self._reached + len(found.local) + len(found.external)
        if self._recipients and reached > MOST_DESTINATIONS:
            whose = [*self._senders(), *self._tenants_of([found])]
            return self._refuse(TOO_MANY, f"{reached} destinations, {MOST_DESTINATIONS} at most", *whose[:1])
        elsewhere = any(onward.tenant_id is None for onward in found.external)
        if self._owner is None and self.listener != OWN and elsewhere:
            # Nobody relays but who has logged in, by POP if not by AUTH; a filter's mail says at its end whose it is.
            self._owner = self._owner_of(
                attribution.relaying(self.gate.directory, self.gate.valkey, self.client, self.sender)
            )
            self._count_invalid()
        tenants = [*self._senders(), *self._tenants_of([found])]
        reply = self._turned_away() or self._too_large(tenants, self.declared_size)
        if reply is None:
            reply = self._judge(found, self.declared_size, commit=False)
        if reply is None:
            self._recipients.append(found)
            self._reached = reached
            for inspector in self._inspectors:
                inspector.concerns(tenants)
        elif reply is not TRY_LATER:
            self._count_refused(found)
        return reply

    def _end(self) -> Outcome:
        if self.listener == OWN:
            self._owner = self._owner_of(attribution.of_filter(self._said_first, self.sender))
        elif self.login is not None:
            # The mail may have been long in coming.
            self._owner = self._owner_of(parse(self.login, delimiter=""))
        reply = self._ended() or self._too_large([*self._senders(), *self._tenants_of(self._recipients)], self._size)
        if reply is not None:
            return Outcome(reply)
        # Before anything is counted: what is refused counts nothing.
        stop = self._inspect()
        if stop is not None and not stop.hold:
            settle(self.gate.directory, stop, self.queue_id, self._note)
            self._take_back(stop)
            return Outcome(self._refuse(self._text_of(stop.kind), stop.kind, stop.whose.tenant))
        reply = self._judge(None, self._size, commit=True)
        if reply is not None:
            self._take_back()
            return Outcome(reply)
        if stop is not None:
            settle(self.gate.directory, stop, self.queue_id, self._note)
            self._note("hold", stop.kind, stop.whose.tenant)
        else:
            self._note("pass", "within all limits", None)
        if (sender := self._sender()) and sender.rule and sender.rule.invalid_recipients and self._owner:
            remember_sender(self.gate.valkey, self.queue_id, self._owner, self.sender)
        return Outcome(
            quarantine=stop.kind if stop else None,
            no_sender=self.listener == OWN and attribution.is_answer(self._said_first),
            added=self._left_out(),
            on_top=self._came_for(),
            changed=(*self._marked.plain, *([self._received] if self._received else [])),
        )

    def _came_for(self) -> tuple[tuple[str, str], ...]:
        """The address of a mailbox's mail that is not the mailbox's own, if nobody else gets to know it by that."""
        if len(self._accepted) != 1 or len(self._recipients) != 1 or self._first is None:
            return ()
        (recipient,), (written,) = self._recipients, self._accepted
        own = [place.mailbox.username for place in recipient.local] == ["@".join(self._first)]
        if not recipient.local or (own and not recipient.external):
            return ()
        return fields.came_for(written)

    def _left_out(self) -> tuple[tuple[str, str], ...]:
        """Fields that are missing from what our people send; what others wrote stays as it is."""
        if self._owner is None or self.listener == OWN:
            return ()
        sender = self.written or self._owner.username or ""
        return fields.missing(self._fields, sender, f"{self.queue_id}@{self.host}", datetime.now(self.gate.zone))

    def _inspect(self) -> Stop | None:
        reached = tuple(tuple(self._tenants_of([recipient])) for recipient in self._recipients)
        envelope = Envelope(self._owner, self._sender(), reached)
        return next((stop for inspector in self._inspectors if (stop := inspector.end(envelope))), None)

    def _take_back(self, stop: Stop | None = None) -> None:
        for inspector in self._inspectors:
            inspector.take_back(stop)

    def _judge(self, latest: Destinations | None, size: int, *, commit: bool) -> Reply | None:
        """Check or count.  A full pool refuses, a full mailbox only if it is all there is: Dovecot defers for it."""
        mail = self._mail(latest) if latest else self._mail()
        costs = charges.charges(mail, self.gate.host_limits)
        spaces = charges.spaces(mail, latest, size + HEADER_ALLOWANCE_BYTES)
        full: set[int] = set()
        while True:
            try:
                if commit:
                    verdict: Verdict = self.gate.counters.commit(costs, spaces, charges.daily_counts(mail, size))
                else:
                    verdict = self.gate.counters.check(costs, spaces)
            except ValkeyError as error:
                self._note("unchecked", f"limits not applied: {error}", None)
                return None
            if not isinstance(verdict, Refused):
                for space in verdict.unknown[:1]:
                    more = f", nor of {len(verdict.unknown) - 1} more" if verdict.unknown[1:] else ""
                    self._note("unchecked", f"usage of the {_name(space)} is not known{more}", mail.tenant_of(space))
                return None
            if not isinstance(verdict.subject, SpaceCheck):
                return self._limited(verdict, verdict.subject, mail)
            subject = verdict.subject
            spaces = [space for space in spaces if (space.scope, space.id) != (subject.scope, subject.id)]
            full.add(subject.id)
            if subject.scope == "tenant" or _all_full([latest] if latest else mail.recipients, full):
                return self._refuse(self.gate.texts.full, f"the {_name(subject)} is full", mail.tenant_of(subject))

    def _limited(self, verdict: Refused, subject: LimitSubject, mail: charges.Mail) -> Reply:
        tenant, limit, left = mail.tenant_of(subject), verdict.limit, verdict.seconds_left
        if verdict.began and limit is not None:
            self._tell(subject, tenant, limit, left or limit.per)
        who = f"{subject.scope} {subject.id}" if subject.scope == "account" else f"the {subject.scope}"
        most = f", {limit.most} {limit.unit} in {limit.per} s" if limit else ""
        begins = ", a pause begins" if verdict.began else ""
        again = f", {left} s left" if left else ""
        what = "is paused" if verdict.kind == "paused" else "is over a limit"
        reason = f"{who} {what} ({subject.direction}{most}{begins}{again})"
        return self._refuse(self.gate.texts.limit, reason, tenant)

    def _refuse(self, reply: Reply, reason: str, tenant: Tenant | None = None) -> Reply:
        write("reject", reason, self._about(), tenant=tenant, code=reply.code)
        return reply

    def _put_off(self, error: DirectoryError) -> Reply:
        tenant = self._tenants.get(self._owner.tenant_id) if self._owner else None
        write("defer", str(error), self._about(), tenant=tenant, code=TRY_LATER.code)
        return TRY_LATER

    def _note(self, decision: Decision, reason: str, tenant: Tenant | None) -> None:
        """Once a mail, however often it is looked at."""
        what = reason.partition(":")[0]
        if what not in self._noted:
            self._noted.add(what)
            write(decision, reason, self._about(), tenant=tenant)

    def _about(self) -> About:
        username = self._owner.username if self._owner else None
        to, more = self._latest or self._first, len(self._recipients) - 1
        others = f" and {more} more" if more > 0 and self._latest is None else ""
        return About(
            queue_id=self.queue_id,
            account=username or self.login,
            client=self.client,
            sender="@".join(self.sender) if self.sender else "<>",
            to=f"{'@'.join(to)}{others}" if to else None,
        )

    def _too_large(self, tenants: Iterable[Tenant], size: int) -> Reply | None:
        for tenant in tenants:
            limit = self.gate.message_size_limit if tenant.max_message_size is None else tenant.max_message_size
            if limit is not None and size > limit:
                return self._refuse(self.gate.texts.message_size, f"{size} octets, {limit} at most", tenant)
        return None

    # Who

    def _owner_of(self, whose: Address | None) -> Owner | None:
        return self.gate.directory.owner(whose) if whose else None

    def _tenant(self, tenant_id: int) -> Tenant | None:
        if tenant_id not in self._tenants:
            tenant = self.gate.directory.tenant(tenant_id)
            if tenant is None:
                return None
            self._tenants[tenant_id] = tenant
        return self._tenants[tenant_id]

    def _senders(self) -> list[Tenant]:
        tenant = self._tenant(self._owner.tenant_id) if self._owner else None
        return [tenant] if tenant else []

    def _tenants_of(self, recipients: Iterable[Destinations]) -> list[Tenant]:
        """The tenants whose mailboxes or forwards a mail reaches."""
        numbers = {place.tenant_id for recipient in recipients for place in recipient.local}
        numbers |= {
            onward.tenant_id
            for recipient in recipients
            for onward in recipient.external
            if onward.tenant_id is not None
        }
        return [tenant for number in sorted(numbers) if (tenant := self._tenant(number))]

    def _ended(self) -> Reply | None:
        """What a session is told whose login may not send, or counts no more."""
        if self.login is None:
            return None
        owner = self._owner
        if owner is None or not owner.may_send:
            held = owner is not None and owner.may_login
            return self._refuse(ON_HOLD if held else MAY_NOT_SEND, "the login may not send", *self._senders())
        renewed = owner.login_since is not None and owner.login_since > self.connected
        if renewed or not owner.may_login or self.listener not in owner.protocols:
            return self._refuse(LOGIN_ENDED, "the login has ended", *self._senders())
        return None

    # How much

    def _mail(self, *latest: Destinations) -> charges.Mail:
        """What it costs is asked after `_senders` and `_tenants_of` have found all of its tenants."""
        return charges.Mail(self._owner, (*self._recipients, *latest), self._tenants)

    def _count_refused(self, found: Destinations) -> None:
        daily_counts = [DailyCount(tenant.id, {"received_refused": 1}) for tenant in self._tenants_of([found])]
        daily_counts += [DailyCount(tenant.id, {"sent_refused": 1}) for tenant in self._senders()]
        self.gate.counters.refused(daily_counts)

    # What is told, and bulk mail

    def _tell(self, subject: LimitSubject, tenant: Tenant | None, limit: Limit, seconds: int) -> None:
        account_id = subject.id if subject.scope == "account" else None
        own = self._owner if self._owner and self._owner.account_id == account_id else None
        until = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="seconds")
        facts = {
            "account": own.username if own else None,
            "limit": f"{limit.most} {limit.unit} / {limit.per} s",
            "until": until,
            "count": limit.most,
            "direction": subject.direction,
        }
        once = f"limit_pause {subject.scope} {subject.id} {subject.direction} {int(time.time() + seconds)}"
        try:
            self.gate.directory.add_notice("limit_pause", tenant.id if tenant else None, account_id, facts, once)
        except DirectoryError as error:
            LOG.warning("%s: nobody is told of a pause: %s", self.queue_id, error)

    def _sender(self) -> Crowd | None:
        """The account that sends, but for what its filters send."""
        tenant = next(iter(self._senders()), None)
        if self.listener == OWN or tenant is None or self._owner is None or self._owner.account_id is None:
            return None
        return Crowd(tenant, self._owner.account_id, self._owner.username, len(self._recipients))

    def _turned_away(self) -> Reply | None:
        """What an account is told that is stopped, if its mail does not wait in the queue."""
        sender = self._sender() if self._owner and self._owner.blocked_for else None
        if sender is None or sender.holds or self._owner is None or self._owner.blocked_for is None:
            return None
        return self._refuse(
            self._text_of(self._owner.blocked_for), f"stopped for {self._owner.blocked_for}", sender.tenant
        )

    def _text_of(self, kind: str) -> Reply:
        return self.gate.texts.invalid_recipients if kind == "invalid_recipients" else self.gate.texts.bulk_mail

    def _count_invalid(self) -> None:
        """As soon as it is known whose they are: relaying begins with a recipient elsewhere."""
        sender = self._sender()
        if sender is None or self._owner is None or self._invalid == 0:
            return
        count, self._invalid = self._invalid, 0
        blocked = count_invalid(self.gate.directory, self.gate.valkey, sender, count, self._note)
        self._owner = replace(self._owner, blocked_for=self._owner.blocked_for or blocked)


def _name(space: SpaceCheck) -> str:
    return f"mailbox of {space.mailbox.username}" if space.mailbox else "pool"


def _all_full(recipients: Iterable[Destinations], full: set[int]) -> bool:
    """Whether there is room for none of them, these mailboxes being full; an address elsewhere has room."""
    return all(
        not recipient.external and all(place.mailbox.account_id in full for place in recipient.local)
        for recipient in recipients
    )
