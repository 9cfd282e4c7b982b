# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's terms: limits, those whom they limit, addresses and their owners, answers.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from .bulk_mail_counts import Rule

Scope = Literal["host", "tenant", "account"]
Direction = Literal["send", "receive"]
Unit = Literal["messages", "recipients"]
VirusAction = Literal["strip", "delete", "reject", "quarantine"]
Notified = Literal["recipient", "recipient_same_domain", "sender", "contact"]
Suspicion = Literal["pass", "mark", "reject", "virus"]
Unexamined = Literal["pass", "mark", "reject"]

#: The id of the one subject of scope `host`.
HOST: Final = 0


class Reply(NamedTuple):
    """A reply of SMTP that rejects or defers what the client sent."""

    code: str
    enhanced: str | None
    text: str


TRY_LATER: Final = Reply("451", "4.3.0", "Temporary failure, try again later")


@dataclass(frozen=True)
class Limit:
    """At most `most` messages or recipients within a window of `per` seconds, which begins with its first message.

    A subject that exceeds it is paused in the directions `pause_applies_to`: for `pause` seconds, after which a new
    window begins, or (None) until the window ends.  A single mail larger than `most` is rejected and begins no pause,
    since it has not used up the window.  So a `most` of 0 lets nothing pass; None lets everything pass.
    """

    unit: Unit
    most: int | None
    per: int
    pause: int | None
    pause_applies_to: tuple[Direction, ...]


@dataclass(frozen=True)
class LimitSubject:
    """One that a limit applies to: the host, a tenant or an account, as it sends or as it receives."""

    scope: Scope
    id: int
    direction: Direction


@dataclass(frozen=True)
class RateCharge:
    """What a mail costs a subject, and the limits of that subject."""

    subject: LimitSubject
    limits: tuple[Limit, ...]
    messages: int
    recipients: int


@dataclass(frozen=True)
class Mailbox:
    """An account's mailbox; its usage in Valkey has both names."""

    account_id: int
    username: str


@dataclass(frozen=True)
class SpaceCheck:
    """The bytes that a mail needs in a mailbox, or in all mailboxes of a tenant together, out of `quota` bytes.

    `mailbox` is that of scope `account`, None for a tenant.  It has space if `free` bytes are free, or (None) all that
    the mail needs: a mailbox that is not full takes one mail more.  Without a quota there is no SpaceCheck.
    """

    scope: Literal["account", "tenant"]
    id: int
    quota: int
    needed: int
    mailbox: Mailbox | None = None
    free: int | None = None

    def __str__(self) -> str:
        return f"mailbox of {self.mailbox.username}" if self.mailbox else "pool"


@dataclass(frozen=True)
class DailyCount:
    """What a mail adds to a tenant's counts of the day, by name: `sent_messages`, `received_bytes` and so on."""

    tenant_id: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Allowed:
    """The mail may pass.  The usage of `unknown` is not known, so they were not compared."""

    unknown: tuple[SpaceCheck, ...] = ()

    @property
    def reason(self) -> str:
        """What the log says of `unknown`, if that is not empty."""
        more = f", nor of {len(self.unknown) - 1} more" if self.unknown[1:] else ""
        return f"usage of the {self.unknown[0]} is not known{more}"


@dataclass(frozen=True)
class Refused:
    """The mail may not pass, and nothing counted it.

    `limit` is the one that the mail exceeds, or that began the pause.  After `seconds_left` the client may try again;
    None where time changes nothing: the mail alone is larger than the limit, or there is no space.  Of all answers
    about a pause, `began` is true for the one that began it, so that people are told once.
    """

    kind: Literal["paused", "exceeded", "full"]
    subject: LimitSubject | SpaceCheck
    limit: Limit | None = None
    seconds_left: int | None = None
    began: bool = False

    @property
    def reason(self) -> str:
        """What the log says of the refusal."""
        subject, limit = self.subject, self.limit
        if isinstance(subject, SpaceCheck):
            return f"the {subject} is full"
        who = f"{subject.scope} {subject.id}" if subject.scope == "account" else f"the {subject.scope}"
        what = "is paused" if self.kind == "paused" else "is over a limit"
        most = f", {limit.most} {limit.unit} in {limit.per} s" if limit else ""
        begins = ", a pause begins" if self.began else ""
        again = f", {self.seconds_left} s left" if self.seconds_left else ""
        return f"{who} {what} ({subject.direction}{most}{begins}{again})"


@dataclass(frozen=True)
class Pause:
    """A paused subject, since when (Unix time) and by which limit; None where Valkey's text is not readable."""

    subject: LimitSubject
    limit: Limit | None
    since: int
    seconds_left: int


@dataclass(frozen=True)
class Window:
    """What a subject has used of a window, of how much, and when it began (Unix time)."""

    subject: LimitSubject
    unit: Unit
    per: int
    counted: int
    most: int | None
    since: int
    seconds_left: int


@dataclass(frozen=True)
class Owner:
    """The tenant that an address belongs to, and the account if the address is one.

    The account logs in as `username`.  `blocked_for` is the reason for which the gate blocks what the account sends,
    until somebody releases it.  A session is valid while the account `may_login`, by one of `protocols`, and if the
    session is no older than `login_since` (Unix time).  `tenant` is None if the tenant has gone meanwhile.
    """

    account_id: int | None
    tenant_id: int
    username: str | None
    may_send: bool
    blocked_for: str | None = None
    may_login: bool = False
    protocols: Sequence[str] = ()
    login_since: float | None = None
    tenant: Tenant | None = None


@dataclass(frozen=True)
class LocalTarget:
    """A mailbox that a recipient leads to; `quota` is in bytes, 0 for none."""

    mailbox: Mailbox
    tenant_id: int
    quota: int


@dataclass(frozen=True)
class ExternalTarget:
    """An address elsewhere, and who forwards to it: an account of a tenant, or None for the recipient itself."""

    account_id: int | None
    tenant_id: int | None


@dataclass(frozen=True)
class Destinations:
    """Where a recipient leads to; `tenants` are those of all targets, by number, without any that has gone."""

    local: tuple[LocalTarget, ...]
    external: tuple[ExternalTarget, ...]
    tenants: tuple[Tenant, ...] = ()

    @property
    def leads_elsewhere(self) -> bool:
        """Whether the recipient itself is an address elsewhere; a forward to one does not count."""
        return any(target.tenant_id is None for target in self.external)


@dataclass(frozen=True)
class BulkMail:
    """From when on the mail that an account sends or a tenant receives is bulk mail, and whether it is held then."""

    sent: Rule
    received: Rule | None
    hold: bool


@dataclass(frozen=True)
class VirusPolicy:
    """What happens to infected mail in one direction, and who of this host is warned of it.

    strip: a text takes the place of what is infected.  delete: the mail is accepted and not delivered.  quarantine: the
    same, and the mail is kept.  reject: the client gets an error.
    """

    attachment: VirusAction
    body: VirusAction
    notify: tuple[Notified, ...]


@dataclass(frozen=True)
class VirusCheck:
    """How a tenant's mail is examined.

    `heuristics` and `pua` are about what clamd only suspects, `encrypted` and `unreadable` about files that cannot be
    examined, `partial` about pieces of a message.  mark: a header field says so.  `max_unpacked_size` is bytes of one
    attachment unpacked, `max_content_size` bytes of body and attachments, decoded, together; None is no limit.  The
    original of a mail that is stripped or deleted is kept for `keep` seconds.
    """

    inbound: VirusPolicy
    outbound: VirusPolicy
    heuristics: Suspicion
    pua: Suspicion
    encrypted: Unexamined
    unreadable: Unexamined
    partial: Unexamined
    reject_files: tuple[str, ...]
    max_unpacked_size: int
    max_content_size: int | None
    keep: int


@dataclass(frozen=True)
class Tenant:
    """The settings of a tenant's plan; sizes are bytes, None is no limit."""

    id: int
    name: str
    max_message_size: int | None
    quota: int | None
    send_limits: tuple[Limit, ...]
    receive_limits: tuple[Limit, ...]
    account_send_limits: tuple[Limit, ...]
    bulk_mail: BulkMail | None
    virus: VirusCheck | None
