# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is limited, whom it concerns, and what the answer is.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from .bulk_mail_counts import Rule

Scope = Literal["host", "tenant", "account"]
Direction = Literal["send", "receive"]
Unit = Literal["messages", "recipients"]

#: The id of the one subject of scope `host`.
HOST: Final = 0


class Reply(NamedTuple):
    """What the client is answered instead of going on."""

    code: str
    enhanced: str | None
    text: str


TRY_LATER: Final = Reply("451", "4.3.0", "Temporary failure, try again later")


@dataclass(frozen=True)
class Limit:
    """At most `most` messages or recipients within a window of `per` seconds, which begins with its first message.

    Who exceeds it is paused in the directions `pause_applies_to`: for `pause` seconds, after which a new window begins,
    or (None) until the window ends.  A mail beyond `most` by itself is refused and pauses nobody: it has used nothing
    up.  So a `most` of 0 lets nothing pass; None lets everything pass.
    """

    unit: Unit
    most: int | None
    per: int
    pause: int | None
    pause_applies_to: tuple[Direction, ...]


@dataclass(frozen=True)
class LimitSubject:
    """Who sends or receives."""

    scope: Scope
    id: int
    direction: Direction


@dataclass(frozen=True)
class RateCharge:
    """What a mail costs a subject, and what the subject is limited to."""

    subject: LimitSubject
    limits: tuple[Limit, ...]
    messages: int
    recipients: int


@dataclass(frozen=True)
class Mailbox:
    """Names the usage that Dovecot writes."""

    account_id: int
    username: str


@dataclass(frozen=True)
class SpaceCheck:
    """The bytes that a mail needs in a mailbox, or in all mailboxes of a tenant together, out of `quota` bytes.

    `mailbox` is that of scope `account`, None for a tenant.  What has no quota needs none.  It is full unless all that
    is needed is free, or only `free` bytes: a mailbox takes one mail more as long as it is not full.
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
    """What is added to a tenant's counts of the day, by name: `sent_messages`, `received_bytes` and so on."""

    tenant_id: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Allowed:
    """It may pass.  How full `unknown` are could not be told; they were left out."""

    unknown: tuple[SpaceCheck, ...] = ()

    @property
    def reason(self) -> str:
        """What the log says of the unknown ones, of which there is at least one."""
        more = f", nor of {len(self.unknown) - 1} more" if self.unknown[1:] else ""
        return f"usage of the {self.unknown[0]} is not known{more}"


@dataclass(frozen=True)
class Refused:
    """It may not pass, and counted nowhere.

    `limit` is the one that is exceeded, or was when the pause began.  `seconds_left` is when it may be tried again;
    None where time changes nothing: a mail beyond the limit by itself, or no room.  `began`: this very answer began the
    pause, so whoever gets it tells of it.
    """

    kind: Literal["paused", "exceeded", "full"]
    subject: LimitSubject | SpaceCheck
    limit: Limit | None = None
    seconds_left: int | None = None
    began: bool = False

    @property
    def reason(self) -> str:
        """What the log says of it."""
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
    """A subject that is paused, since when (Unix time) and by which limit; None where that cannot be read."""

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
    """Whose an address is: a tenant's, and an account's if it is one; its login is `username`, and may send or not.

    `blocked_for` is why what the account sends is stopped, until somebody releases it.  A login of it counts while it
    `may_login`, by one of `protocols`, and if it is no older than `login_since` (Unix time).  `tenant` is None if the
    tenant has gone meanwhile.
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
    """A mailbox that a mail ends in; `quota` is in bytes, 0 for none."""

    mailbox: Mailbox
    tenant_id: int
    quota: int


@dataclass(frozen=True)
class ExternalTarget:
    """One address elsewhere; who of ours sends mail on to it: None for who wrote to it themselves."""

    account_id: int | None
    tenant_id: int | None


@dataclass(frozen=True)
class Destinations:
    """Where the mail for a recipient ends; `tenants` are those of all targets, by number, without any that has gone."""

    local: tuple[LocalTarget, ...]
    external: tuple[ExternalTarget, ...]
    tenants: tuple[Tenant, ...] = ()

    @property
    def leads_elsewhere(self) -> bool:
        """Whether the recipient itself is an address elsewhere, and not one that somebody of ours forwards to."""
        return any(target.tenant_id is None for target in self.external)


@dataclass(frozen=True)
class BulkMail:
    """When what an account sends, or a tenant receives, is bulk mail, and whether it then waits in the queue."""

    sent: Rule
    received: Rule | None
    hold: bool


@dataclass(frozen=True)
class Tenant:
    """What a tenant's plan says; sizes are bytes, None is no limit."""

    id: int
    name: str
    max_message_size: int | None
    quota: int | None
    send_limits: tuple[Limit, ...]
    receive_limits: tuple[Limit, ...]
    account_send_limits: tuple[Limit, ...]
    bulk_mail: BulkMail | None
