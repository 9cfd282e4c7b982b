# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys in Valkey: one line each, where they are made; roles/valkey says who may use which."""

from __future__ import annotations

from datetime import date
from typing import Final

_PREFIX: Final = "mh:1:"

#: The run of Valkey that has the usage of every account; without this key usage is incomplete.
USAGE_EPOCH: Final = f"{_PREFIX}usage:epoch"
#: A set: usernames whose usage a program did not find.
USAGE_WANTED: Final = f"{_PREFIX}usage:wanted"
#: Prefix of an account's keys of usage.
USAGE: Final = f"{_PREFIX}usage:"


def usage_storage(account_id: int | str, username: str) -> str:
    """Bytes in use.  Dovecot's dict adds the part after the account's id to its configured prefix."""
    return f"{USAGE}{account_id}/{username}/quota/storage"


def usage_messages(account_id: int | str, username: str) -> str:
    """Messages in a mailbox, by the name that Dovecot's dict uses."""
    return f"{USAGE}{account_id}/{username}/quota/messages"


def account_of_storage(key: str) -> tuple[int, str] | None:
    """The account's id and username of a key of `usage_storage`; None for another key."""
    number, _slash, username = key.removeprefix(USAGE).removesuffix("/quota/storage").partition("/")
    return (int(number), username) if number.isdecimal() and username else None


def day(of: date | str, tenant_id: int | str) -> str:
    """A hash: what a tenant sent and received on a day (UTC, ISO 8601)."""
    return f"{_PREFIX}day:{of}:{tenant_id}"


def login(client: str, username: str) -> str:
    """When `username` last logged in from an address by POP or IMAP.

    With a username `@domain`: the most recent login of anybody in that domain.  A slash separates the two, because IPv6
    addresses and local parts may have colons.
    """
    return f"{_PREFIX}login:{client}/{username}"


def total(tenant_id: int) -> str:
    """Bytes in all mailboxes of a tenant."""
    return f"{_PREFIX}total:{tenant_id}"


def room(scope: str, number: int) -> str:
    """A hash: bytes accepted for a mailbox, or for a tenant's, but not yet delivered."""
    return f"{_PREFIX}room:{scope}:{number}"


def rate(scope: str, number: int, direction: str, unit: str, per: int) -> str:
    """A hash: the count of a window of `per` seconds."""
    return f"{_PREFIX}rate:{scope}:{number}:{direction}:{unit}:{per}"


def rates(scope: str, number: int, direction: str = "") -> str:
    """The pattern of the windows of one host, tenant or account, in one direction or both."""
    return f"{_PREFIX}rate:{scope}:{number}:{direction}{':' if direction else ''}*"


def pause(scope: str, number: int, direction: str) -> str:
    """A hash: the limit that began a pause, since when, and for how long."""
    return f"{_PREFIX}pause:{scope}:{number}:{direction}"


#: The pattern of all pauses.
PAUSES: Final = f"{_PREFIX}pause:*"


# Both keys have the names of release 0.1.0, so that its counts stay valid.


def bulk(sender: str) -> str:
    """A hash: how many recipients one content had; the sender is `account:ID` or `tenant:ID`."""
    return f"{_PREFIX}mass:{sender}"


#: The pattern of the counts of one content that tenants receive.
BULK_OF_TENANTS: Final = bulk("tenant:*")


def invalid(sender: str) -> str:
    """A hash: how many of a sender's recipients do not exist."""
    return f"{_PREFIX}unknown:{sender}"


def sent(queue_id: str) -> str:
    """Which account sent a mail from an address that is not its own."""
    return f"{_PREFIX}sent:{queue_id}"


def virus(name: str) -> str:
    """A sorted set: the tenants whose mail had a virus of this name, by the time of the last one."""
    return f"{_PREFIX}virus:{name}"


#: The pattern of the tenants of all viruses.
VIRUSES: Final = virus("*")


def virus_of(key: str) -> str:
    """The name of a key of `virus`."""
    return key.removeprefix(virus(""))
