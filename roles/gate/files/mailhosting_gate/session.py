# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One mail on its way in: who sends it, whom it reaches, whether it may pass.  Knows no milter.

At each recipient everything is checked and nothing is counted; at the end of the mail all of it is checked again and
counted at once.  So a mail that is given up has nothing to give back.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .content import Reader
from .counters import Counters, Down
from .directory import MOST_DESTINATIONS, Directory, Unavailable
from .model import (
    HOST,
    Address,
    Charge,
    Destinations,
    Direction,
    Limit,
    Owner,
    Party,
    Place,
    Refused,
    Room,
    Scope,
    Tally,
    Tenant,
    Verdict,
)
from .reports import remember_sender
from .stops import Crowd, Stop, Watch, count_unknown
from .valkey import Valkey

LOG: Final = logging.getLogger(__name__)

#: Bytes that a mail grows by until it lies in a mailbox: Received, Return-Path, Delivered-To.
GROWTH: Final = 1024
#: Mailboxes of one recipient beyond which only the pool is looked at, not each mailbox.
MOST_ROOMS: Final = 500

#: Where mail comes from that this host makes itself, as Postfix's listeners are called.
OWN: Final = "own"
_REDIRECTED_FROM: Final = "x-sieve-redirected-from"


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


@dataclass(frozen=True)
class Texts:
    """Replies that are settings: a code and what follows."""

    message_size: Reply
    limit: Reply
    full: Reply
    mass_mail: Reply
    unknown_recipients: Reply


@dataclass(frozen=True)
class Gate:
    """What all mails have in common."""

    directory: Directory
    valkey: Valkey
    counters: Counters
    texts: Texts
    host_limits: Mapping[Direction, tuple[Limit, ...]]

    def may_log_in(self) -> Reply | None:
        """Asked before a login: of one that Dovecot cannot check Postfix says 535, that the password is wrong."""
        try:
            self.directory.ping()
        except Unavailable as error:
            LOG.warning("no logins: %s", error)
            return TRY_LATER
        return None


@dataclass
class Outcome:
    """How a mail ends: refused by `reply`, or taken; then `quarantine` says why it waits in the queue, if it does."""

    reply: Reply | None = None
    quarantine: str | None = None


@dataclass
class _Recipient:
    """A recipient that was not refused."""

    destinations: Destinations


@dataclass
class Transaction:
    """A mail, from MAIL to the end of its data.  `client` is the address it comes from, `listener` names the port."""

    gate: Gate
    queue_id: str
    client: str
    listener: str
    login: str | None
    sender: Address | None
    declared_size: int
    _owner: Owner | None = None
    _recipients: list[_Recipient] = field(default_factory=list)
    _reached: int = 0  # destinations of all recipients
    _tenants: dict[int, Tenant] = field(default_factory=dict)
    _size: int = 2  # the empty line after the header
    _redirected_from: str | None = None
    _unknown: int = 0
    # Whose limits an account has.
    _tenant_of_account: dict[int, Tenant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._watch = Watch(self.gate.directory, self.gate.valkey)

    def mail(self) -> Reply | None:
        """At MAIL: who sends, and whether a mail of the declared size may come from them."""
        try:
            if self.login is not None:
                self._owner = self._owner_of(address(self.login, delimiter=""))
            elif self.listener not in ("smtp", OWN):
                # What the host hands in itself (sendmail) says whose it is.
                self._owner = self._owner_of(self.sender)
            tenants = self._senders()
        except Unavailable as error:
            return self._put_off(error)
        return self._turned_away() or self._too_large(tenants, self.declared_size)

    def unknown_recipient(self) -> None:
        """At RCPT: Postfix has refused a recipient that nobody is."""
        self._unknown += 1
        try:
            self._count_unknown()
        except Unavailable as error:
            LOG.warning("%s: unknown recipients not counted: %s", self.queue_id, error)

    def recipient(self, written: str) -> Reply | None:
        """At RCPT."""
        to = address(written)
        if to is None:
            return None
        try:
            return self._recipient(to)
        except Unavailable as error:
            return self._put_off(error)

    def header(self, name: str, value: str, size: int) -> None:
        """A header field, and how many octets it has on the wire."""
        self._size += size
        if self.listener == OWN and self._redirected_from is None and name.lower() == _REDIRECTED_FROM:
            self._redirected_from = value.strip()
        if self._watch.reader is not None:
            self._watch.reader.header(name, value)

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""
        self._size += len(chunk)
        if self._watch.reader is not None:
            self._watch.reader.body(chunk)

    def end(self) -> Outcome:
        """At the end of the mail: count it, or refuse it."""
        try:
            return self._end()
        except Unavailable as error:
            self._watch.take_back()
            return Outcome(self._put_off(error))

    def _recipient(self, to: Address) -> Reply | None:
        if self.login is not None and not (self._owner and self._owner.may_send):
            return self._refuse(MAY_NOT_SEND, f"{self.login} may not send")
        destinations = self.gate.directory.destinations(to)
        reached = self._reached + len(destinations.places) + len(destinations.onward)
        if self._recipients and reached > MOST_DESTINATIONS:
            return TOO_MANY
        if self._owner is None and any(onward.tenant_id is None for onward in destinations.onward):
            # Nobody relays but who has logged in, by POP if not by AUTH.
            self._owner = self._relaying()
            self._count_unknown()
        found = _Recipient(destinations)
        tenants = [*self._senders(), *self._tenants_of([found])]
        reply = self._turned_away() or self._too_large(tenants, self.declared_size)
        if reply is None:
            reply = self._judge([*self._recipients, found], found, self.declared_size, commit=False)
        if reply is None:
            self._recipients.append(found)
            self._reached = reached
            if self._watch.reader is None and any(tenant.mass_mail for tenant in tenants):
                self._watch.reader = Reader()
        elif reply is not TRY_LATER:
            self._count_refused(found)
        return reply

    def _end(self) -> Outcome:
        if self.listener == OWN:
            # A filter's own mail: what sends on names its account, an answer is the account's.
            whose = address(self._redirected_from) if self._redirected_from else self.sender
            self._owner = self._owner_of(whose)
        reply = self._too_large([*self._senders(), *self._tenants_of(self._recipients)], self._size)
        if reply is not None:
            return Outcome(reply)
        # Before anything is counted: what is refused counts nothing.
        stop = self._stop()
        if stop is not None and not stop.hold:
            self._watch.settle(stop, self.queue_id)
            return Outcome(self._refuse(self._text_of(stop.kind), stop.kind))
        reply = self._judge(self._recipients, None, self._size, commit=True)
        if reply is not None:
            self._watch.take_back()
            return Outcome(reply)
        if stop is not None:
            self._watch.settle(stop, self.queue_id)
            LOG.info("%s: held: %s by %s", self.queue_id, stop.kind, self._who())
        if (sender := self._sender()) and sender.rule and sender.rule.unknown_recipients and self._owner:
            remember_sender(self.gate.valkey, self.queue_id, self._owner, self.sender)
        return Outcome(quarantine=stop.kind if stop else None)

    def _judge(
        self, recipients: list[_Recipient], latest: _Recipient | None, size: int, *, commit: bool
    ) -> Reply | None:
        """Check or count; what is full of many is left out, and refused only if it is all there is."""
        charges = self._charges(recipients)
        full: set[tuple[str, int]] = set()
        while True:
            places = [place for recipient in recipients for place in recipient.destinations.places]
            rooms = [room for room in self._rooms(places, size + GROWTH) if (room.scope, room.id) not in full]
            try:
                if commit:
                    verdict: Verdict = self.gate.counters.commit(charges, rooms, self._tallies(recipients, size))
                else:
                    verdict = self.gate.counters.check(charges, rooms)
            except Down as error:
                LOG.warning("%s: limits not applied: %s", self.queue_id, error)
                return None
            if not isinstance(verdict, Refused):
                for room in verdict.unknown:
                    LOG.info("%s: not known how full %s %d is", self.queue_id, room.scope, room.id)
                return None
            if not isinstance(verdict.subject, Room):
                return self._limited(verdict, verdict.subject)
            full.add((verdict.subject.scope, verdict.subject.id))
            if _all_full([latest] if latest else recipients, full):
                return self._refuse(self.gate.texts.full, f"{verdict.subject.scope} {verdict.subject.id} is full")

    def _limited(self, verdict: Refused, party: Party) -> Reply:
        if verdict.began and verdict.limit is not None:
            self._tell(party, verdict.limit, verdict.seconds_left or verdict.limit.per)
        return self._refuse(self.gate.texts.limit, f"{party.scope} {party.id} {verdict.kind} ({party.direction})")

    def _refuse(self, reply: Reply, reason: str) -> Reply:
        LOG.info("%s: %s: %s from %s", self.queue_id, reply.code, reason, self._who())
        return reply

    def _put_off(self, error: Unavailable) -> Reply:
        LOG.warning("%s: %s", self.queue_id, error)
        return TRY_LATER

    def _too_large(self, tenants: Iterable[Tenant], size: int) -> Reply | None:
        for tenant in tenants:
            if tenant.max_message_size is not None and size > tenant.max_message_size:
                return self._refuse(self.gate.texts.message_size, f"{size} octets, {tenant.name} has fewer")
        return None

    # Who

    def _owner_of(self, whose: Address | None) -> Owner | None:
        return self.gate.directory.owner(whose) if whose else None

    def _relaying(self) -> Owner | None:
        """Whose login lets this client relay; the sender's owner where that cannot be told."""
        if self.sender is None:
            return None
        usernames = self.gate.directory.relay_logins(self.sender)
        keys = [f"mh:1:login:{self.client}/{username}" for username in usernames]
        try:
            (values,) = self.gate.valkey.ask(("MGET", *keys)) if keys else ([],)
        except Down:
            values = []
        if isinstance(values, list):
            for username, value in zip(usernames, values, strict=False):
                if isinstance(value, bytes):
                    # @ and a domain is whoever its value names after the time.
                    who = value.decode("utf-8", "surrogateescape").partition(" ")[2]
                    return self._owner_of(address(who or username, delimiter=""))
        return self._owner_of(self.sender)

    def _who(self) -> str:
        if self._owner is None:
            return f"outside ({self.client})"
        return self._owner.username or f"tenant {self._owner.tenant_id}"

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

    def _tenants_of(self, recipients: Iterable[_Recipient]) -> list[Tenant]:
        """The tenants whose mailboxes or forwards a mail reaches."""
        numbers = {place.tenant_id for recipient in recipients for place in recipient.destinations.places}
        numbers |= {
            onward.tenant_id
            for recipient in recipients
            for onward in recipient.destinations.onward
            if onward.tenant_id is not None
        }
        return [tenant for number in sorted(numbers) if (tenant := self._tenant(number))]

    # How much

    def _charges(self, recipients: list[_Recipient]) -> list[Charge]:
        sent, received = self._counts(recipients)
        charges = [
            self._charge(scope, number, "send", count)
            for (scope, number), count in sent.items()
        ] + [self._charge("tenant", number, "receive", count) for number, count in received.items()]  # fmt: skip
        if sent:
            charges.append(Charge(Party("host", HOST, "send"), self.gate.host_limits["send"], 1, sum(sent.values())))
        if received:
            total = sum(received.values())
            charges.append(Charge(Party("host", HOST, "receive"), self.gate.host_limits["receive"], 1, total))
        return charges

    def _charge(self, scope: Scope, number: int, direction: Direction, recipients: int) -> Charge:
        limits: tuple[Limit, ...] = ()
        if scope == "account":
            tenant = self._tenant_of_account.get(number)
            limits = tenant.account_send_limits if tenant else ()
        elif tenant := self._tenant(number):
            limits = tenant.send_limits if direction == "send" else tenant.receive_limits
        return Charge(Party(scope, number, direction), limits, 1, recipients)

    def _counts(self, recipients: list[_Recipient]) -> tuple[Counter[tuple[Scope, int]], Counter[int]]:
        """Recipients that tenants and accounts send to, and that tenants receive for."""
        sent: Counter[tuple[Scope, int]] = Counter()
        received: Counter[int] = Counter()
        if self._owner:
            self._count_sent(sent, self._owner.tenant_id, self._owner.account_id, max(len(recipients), 1))
        for recipient in recipients:
            received.update(place.tenant_id for place in recipient.destinations.places)
            for onward in recipient.destinations.onward:
                if onward.tenant_id is not None:
                    self._count_sent(sent, onward.tenant_id, onward.account_id, 1)
        return sent, received

    def _count_sent(
        self, sent: Counter[tuple[Scope, int]], tenant_id: int, account_id: int | None, recipients: int
    ) -> None:
        sent["tenant", tenant_id] += recipients
        tenant = self._tenant(tenant_id)
        if account_id is not None and tenant:
            sent["account", account_id] += recipients
            self._tenant_of_account[account_id] = tenant

    def _rooms(self, places: list[Place], needed: int) -> list[Room]:
        rooms = []
        if len(places) <= MOST_ROOMS:
            rooms = [
                Room("account", place.mailbox.account_id, place.quota, needed, place.mailbox, free=1)
                for place in places
                if place.quota
            ]
        for number, copies in Counter(place.tenant_id for place in places).items():
            tenant = self._tenant(number)
            if tenant and tenant.quota is not None:
                rooms.append(Room("tenant", number, tenant.quota, needed * copies))
        return rooms

    def _tallies(self, recipients: list[_Recipient], size: int) -> list[Tally]:
        sent, received = self._counts(recipients)
        tallies = [
            Tally(number, {"sent_messages": 1, "sent_recipients": count, "sent_bytes": size})
            for (scope, number), count in sent.items()
            if scope == "tenant"
        ]
        tallies += [
            Tally(number, {"received_messages": 1, "received_recipients": count, "received_bytes": size * count})
            for number, count in received.items()
        ]
        return tallies

    def _count_refused(self, found: _Recipient) -> None:
        tallies = [Tally(tenant.id, {"received_refused": 1}) for tenant in self._tenants_of([found])]
        tallies += [Tally(tenant.id, {"sent_refused": 1}) for tenant in self._senders()]
        self.gate.counters.refused(tallies)

    # What is told, and mass mail

    def _tell(self, party: Party, limit: Limit, seconds: int) -> None:
        tenant_id, account_id, username = None, None, None
        if party.scope == "tenant":
            tenant_id = party.id
        elif party.scope == "account":
            account_id = party.id
            tenant = self._tenant_of_account.get(party.id)
            tenant_id = tenant.id if tenant else None
            username = self._owner.username if self._owner and self._owner.account_id == party.id else None
        until = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="seconds")
        facts = {
            "account": username,
            "limit": f"{limit.most} {limit.unit} / {limit.per} s",
            "until": until,
            "count": limit.most,
            "direction": party.direction,
        }
        once = f"limit_pause {party.scope} {party.id} {party.direction} {int(time.time() + seconds)}"
        try:
            self.gate.directory.add_notice("limit_pause", tenant_id, account_id, facts, once)
        except Unavailable as error:
            LOG.warning("%s: nobody is told of a pause: %s", self.queue_id, error)

    def _sender(self) -> Crowd | None:
        """The account that sends, but for what its filters send."""
        tenant = next(iter(self._senders()), None)
        if self.listener == OWN or tenant is None or self._owner is None or self._owner.account_id is None:
            return None
        return Crowd(tenant, self._owner.account_id, self._owner.username, len(self._recipients))

    def _stop(self) -> Stop | None:
        sender = self._sender()
        if sender is not None and self._owner and self._owner.held:
            return Stop(self._owner.held, sender, sender.holds)
        own = self._owner.tenant_id if self._owner else None
        reached = [self._tenants_of([recipient]) for recipient in self._recipients]
        counts = Counter(tenant.id for tenants in reached for tenant in tenants if tenant.id != own)
        crowds = [Crowd(self._tenants[number], recipients=count) for number, count in counts.items()]
        receivers = [crowd for crowd in crowds if crowd.rule]
        others = len(receivers) < len(crowds) or not all(
            tenants and all(tenant.id != own for tenant in tenants) for tenants in reached
        )
        return self._watch.look(sender, receivers, others=others)

    def _turned_away(self) -> Reply | None:
        """What an account is told that is stopped, if its mail does not wait in the queue."""
        sender = self._sender() if self._owner and self._owner.held else None
        if sender is None or sender.holds or self._owner is None or self._owner.held is None:
            return None
        return self._refuse(self._text_of(self._owner.held), f"stopped ({self._owner.held})")

    def _text_of(self, kind: str) -> Reply:
        return self.gate.texts.unknown_recipients if kind == "unknown_recipients" else self.gate.texts.mass_mail

    def _count_unknown(self) -> None:
        """As soon as it is known whose they are: relaying begins with a recipient elsewhere."""
        sender = self._sender()
        if sender is None or self._owner is None or self._unknown == 0:
            return
        count, self._unknown = self._unknown, 0
        held = count_unknown(self.gate.directory, self.gate.valkey, sender, count)
        self._owner = replace(self._owner, held=self._owner.held or held)


def _all_full(recipients: Iterable[_Recipient], full: set[tuple[str, int]]) -> bool:
    """Whether there is room for none of them; an address elsewhere has room."""
    return all(
        not recipient.destinations.onward
        and all(
            ("account", place.mailbox.account_id) in full or ("tenant", place.tenant_id) in full
            for place in recipient.destinations.places
        )
        for recipient in recipients
    )


def address(written: str, delimiter: str = "+") -> Address | None:
    """An address of an envelope, or a login; None for what is none, the null sender among it.

    What has no place in an address stays, as a character that the directory can be asked for: a catch-all takes it.
    """
    text = written.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    local_part, at, domain = text.rpartition("@")
    if len(local_part) > 1 and local_part.startswith('"') and local_part.endswith('"'):
        # RFC 5321 4.1.2: a backslash in it stands for the character after it.
        local_part = re.sub(r"\\(.)", r"\1", local_part[1:-1], flags=re.DOTALL)
    if delimiter:
        local_part = local_part.partition(delimiter)[0] or local_part
    domain = domain.removesuffix(".")
    if not (at and local_part and domain):
        return None
    # Nobody's local part has an @, and the directory takes what follows the first for the domain.
    return Address(local_part.lower().replace("@", "\ufffd"), domain.lower())
