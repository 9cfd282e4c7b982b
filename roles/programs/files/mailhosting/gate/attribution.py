# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, and whose a mail is that no login says it of."""

from __future__ import annotations

from typing import Final

from ..common import keys
from ..common.address import Address, parse
from ..common.errors import ValkeyError
from ..common.valkey import Valkey
from .directory import Directory
from .fields import REDIRECTED_FROM

#: A field, in lower case, that says of what a filter sends that it is an answer (RFC 3834 5); REDIRECTED_FROM says who
#: sends it on. Dovecot writes them before what others say, in what is sent on or by `vacation :mime`, so the first of
#: them counts.
SUBMITTED: Final = "auto-submitted"


def relaying(directory: Directory, valkey: Valkey, client: str, sender: Address | None) -> Address | None:
    """The login that lets this client relay; the sender where that cannot be told.  Raises: DirectoryError."""
    usernames = directory.relay_logins(sender) if sender else []
    logins = [keys.login(client, username) for username in usernames]
    try:
        (values,) = valkey.ask(("MGET", *logins)) if logins else ([],)
    except ValkeyError:
        return sender
    if isinstance(values, list):
        for username, value in zip(usernames, values, strict=False):
            if isinstance(value, bytes):
                # @ and a domain is whoever its value names after the time.
                who = value.decode("utf-8", "surrogateescape").partition(" ")[2]
                return parse(who or username, delimiter="")
    return sender


def of_filter(first: tuple[str, str] | None, sender: Address | None) -> Address | None:
    """Whose filter made a mail, by the `first` of those fields: who sends it on, or the sender of an answer's envelope.

    Not who an answer is from: a filter may say that of anybody (`vacation :from`).
    """
    return parse(first[1]) if first and first[0] == REDIRECTED_FROM else sender


def is_answer(first: tuple[str, str] | None) -> bool:
    """Whether a filter's mail is an answer, which leaves without a sender (RFC 5230 5.1)."""
    return first is not None and first[0] == SUBMITTED and first[1].lower().startswith("auto-replied")
