# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions to the directory and Valkey for a request, and the decision by their answers.  Pure."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Final, NamedTuple

from ..common.address import Address, parse
from .protocol import Request

#: policy_context of the questions, as Postfix's configuration names them.
POP_BEFORE_SMTP: Final = "pop_before_smtp"
RELAYING: Final = "relaying"
#: Prefix of the host's name.
RELAYED: Final = "relayed@"
ALL_MEMBERS: Final = "all_members"

#: Actions of access(5); the second is a restriction class of main.cf that permits too.
PERMIT: Final = "OK"
PERMIT_RELAYING: Final = "relayed"
NO_OPINION: Final = "DUNNO"
#: While a service of ours is down: neither a permanent refusal nor a permission.
TRY_LATER: Final = "451 4.3.0 Temporary failure, try again later"


class Relaying(NamedTuple):
    """A question: may this client send as this address to somewhere else."""

    client: str
    sender: Address


class Right(NamedTuple):
    """Seconds for which a login allows relaying, if it is not older than `since` (Unix time)."""

    seconds: int
    since: float


class Membership(NamedTuple):
    """A question: does this login belong to the tenant whose domain this is."""

    login: Address
    recipient_domain: str


def client_address(text: str) -> str | None:
    """An IPv4 or IPv6 address in Dovecot's form, that of inet_ntop; None for another text."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    return None


def relaying(request: Request) -> Relaying | None:
    """The question of a request for relaying; None if the answer is no in any case."""
    client = client_address(request.get("client_address", ""))
    sender = parse(request.get("sender", ""))
    return Relaying(client, sender) if client and sender else None


def membership(username: str, request: Request) -> Membership | None:
    """The question of a request to write to all of a domain; None without a login."""
    login = parse(username, delimiter="")
    recipient = parse(request.get("recipient", ""))
    return Membership(login, recipient.domain) if login and recipient else None


def logins_of_domains(times: Mapping[str, float]) -> dict[str, str]:
    """Keys and values of the most recent login of each domain, from the times by the keys of the logins."""
    values = {}
    for key, when in sorted(times.items(), key=lambda item: item[1]):
        before, _slash, username = key.rpartition("/")
        values[f"{before}/@{username.rpartition('@')[2]}"] = f"{when} {username}"
    return values


def opens(right: Right | None, login: Login, now: float) -> bool:
    """Whether a login allows relaying now: its password, name and right must not have ended since."""
    return right is not None and right.since <= login.when and now - login.when < right.seconds


def who_opened(rights: Mapping[str, Right], logins: Mapping[str, Login], now: float) -> tuple[str, Login] | None:
    """The first user, or `@domain`, whose last login allows relaying by their right, and that login."""
    return next((found for found in logins.items() if opens(rights.get(found[0]), found[1], now)), None)


def trace(host: str, now: datetime) -> str:
    """A Received field above Postfix's own: Postfix hides the first one from the gate, which rewrites the second."""
    return f"PREPEND Received: by {host} (POP before SMTP); {format_datetime(now)}"


def members_only(domain: str) -> str:
    """The refusal of a sender who may not write to all of `domain`."""
    return f"554 5.7.1 Only members of {domain} may write to this address, after logging in"


class Login(NamedTuple):
    """A login."""

    username: str
    when: float  # Unix time


def last_logins(usernames: Sequence[str], values: Sequence[bytes | None]) -> dict[str, Login]:
    """The last login of each of `usernames`, from Valkey's values in the same order.

    The login of `@domain` names the account that logged in.  Raises: ValueError for an invalid value.
    """
    logins = {}
    for username, value in zip(usernames, values, strict=True):
        if value is not None:
            when, _space, who = value.decode("utf-8", "surrogateescape").partition(" ")
            logins[username] = Login(who or username, float(when))
    return logins
